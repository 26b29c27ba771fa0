import type { Socket } from 'node:net';
import type { Route } from '../config/route.ts';
import type { Upstream } from '../config/urls.ts';
import { CambistError } from '../errors.ts';
import { isLoopback, withBrackets } from '../host-names.ts';
import {
  addressedAuthority,
  describedResource,
  parseRequestTarget,
  type RequestTarget,
  readHost,
  upstreamPath,
} from '../routing/request-target.ts';
import { headerValues } from './headers.ts';
import type { Routed } from './steps.ts';

/** Longer than any URL that servers accept. */
const MAX_REFERENCE_LENGTH = 8192;

/** A host that no reference names, to detect references without a host. */
const CALLER = 'http://caller.invalid';

const WEB = /^(?:http|ws)s?:$/;

/**
 * A reference of an upstream, as its caller gets it. Callers know all routes by cambist's own address, so a reference that they
 * resolved there could lead them to another backend, with the token for it.
 * - Below the route's own upstream, it becomes a path of the route.
 * - Elsewhere, it becomes the absolute URL that the upstream meant.
 * - Where that URL leads to another route, it is refused.
 * @param place of the reference, for the log
 * @throws {CambistError} ERR_CROSS_ROUTE_REFERENCE
 * @see RFC 3986 section 5
 */
export function callerReference(reference: string, routed: Routed, place: string): string {
  const { route, path, target } = routed;
  const { origin } = route.upstream;
  const to = parse(reference, origin + path);
  if (to === undefined) throw crossRoute(route, `${place} is malformed`);
  if (!WEB.test(to.protocol)) {
    // Some clients take a scheme without slashes for the first segment of a path.
    if (place === 'link' || to.href.startsWith(`${to.protocol}//`)) return to.href;
    throw crossRoute(route, `${place} has a scheme without a host`);
  }
  const back = pathOfRoute(to, route);
  if (back !== undefined) {
    assertRoute(back, [target.host], to, routed, place);
    const followed = parse(reference, CALLER + target.path + target.query);
    return followed?.href === CALLER + back && !/[^!-~]|[\\@]/.test(reference) ? reference : back;
  }
  const isOwn = namesCambist(to, routed);
  if (isOwn || reachesCambist(to, routed)) {
    const asked = to.pathname + to.search;
    const routes = assertRoute(asked, [readHost(to.host), target.host], to, routed, place);
    const isLost = isOwn && routes === 0 && to.origin !== origin;
    if (isLost || to.username !== '' || to.password !== '') throw crossRoute(route, `${place} names cambist itself`);
  }
  return to.href;
}

function parse(reference: string, base: string): URL | undefined {
  if (reference.length > MAX_REFERENCE_LENGTH || !URL.canParse(reference, base)) return undefined;
  return new URL(reference, base);
}

/** The path of the route that leads to this URL. Undefined where the URL is not below the route's upstream. */
function pathOfRoute(to: URL, { match, upstream }: Route): string | undefined {
  if (to.origin !== upstream.origin || to.username !== '' || to.password !== '') return undefined;
  const base = basePath(upstream);
  if (!isBelow(to.pathname, base)) return undefined;
  const prefix = match.path === '/' ? '' : match.path;
  const back = (prefix + to.pathname.slice(base.length) || '/') + to.search + to.hash;
  // Two slashes would begin a host.
  return back.startsWith('//') ? undefined : back;
}

function basePath({ origin, path }: Upstream): string {
  return new URL(origin + path).pathname.replace(/\/$/, '');
}

function isBelow(path: string, base: string): boolean {
  return path === base || path.startsWith(`${base}/`);
}

/**
 * Asserts that a request for this path, at any of the hosts, takes no route to another backend.
 * @returns how many routes it could take
 */
function assertRoute(path: string, hosts: (string | undefined)[], to: URL, routed: Routed, place: string): number {
  const { route, request } = routed;
  const parsed = parseRequestTarget(path.replace(/#.*/s, ''), []);
  if (parsed.path === undefined) throw crossRoute(route, `${place} has a path that servers read differently`);
  const asked = describedResource(parsed) ?? parsed;
  const routes = hosts.flatMap((host) => request.active.table.candidates({ ...asked, host }));
  const other = routes.find((each) => !isSameBackend(each, route, asked, to));
  if (other !== undefined) throw crossRoute(route, `${place} leads to route "${other.name}"`);
  return routes.length;
}

/**
 * Does a route lead to the same backend as another? Two routes with one upstream do, which differ by message or method. So do
 * two of which one has its upstream below that of the other, if the URL is the one that the backend meant.
 */
function isSameBackend(other: Route, route: Route, asked: RequestTarget, to: URL): boolean {
  if (other === route) return true;
  const [one, two] = [other.upstream, route.upstream];
  if (one.origin !== two.origin || one.socketPath !== two.socketPath) return false;
  if (other.match.host === route.match.host && other.match.path === route.match.path) return one.path === two.path;
  const isNested = isBelow(basePath(one), basePath(two)) || isBelow(basePath(two), basePath(one));
  return isNested && one.origin + upstreamPath(other, asked) === to.origin + to.pathname + to.search;
}

/** Does the URL name the authority at which the caller reached cambist, or the address of the listener? */
function namesCambist(to: URL, { target, request: { url, incoming } }: Routed): boolean {
  const host = readHost(to.host);
  const { rawHeaders, socket } = incoming;
  const isListener = isLoopback(to.hostname) || host === addressOf(socket);
  if (isListener && portOf(to) === portText(String(socket.localPort))) return true;
  const addressed = addressedAuthority(url, headerValues(rawHeaders, 'host')) ?? '';
  const forwarded = headerValues(rawHeaders, 'x-forwarded-host').join().split(',');
  // With `host_header`, a header names the host that the caller used.
  const isNamed = target.host === host && readHost(addressed) !== host;
  return (
    isNamed ||
    (host === readHost(addressed) && portOf(to) === portOf(parse(`http://${addressed}`, CALLER))) ||
    forwarded.some((name) => readHost(name) === host)
  );
}

function addressOf({ localAddress = '' }: Socket): string {
  return withBrackets(localAddress.replace(/^::ffff:(?=\d+\.)/, ''));
}

function portOf(url: URL | undefined): string | undefined {
  return url && portText(url.port);
}

/** The default ports are one: TLS may end in front of cambist, and both then lead here. */
function portText(port: string): string {
  return port === '80' || port === '443' ? '' : port;
}

/** Does the agent send a request for the URL to cambist? Routed hosts are intercepted, and a proxy gets all plain HTTP. */
function reachesCambist(to: URL, { request: { url, arrival, active } }: Routed): boolean {
  const isProxy = arrival === undefined ? !url.startsWith('/') : arrival.wayIn === 'proxy';
  return active.table.namesHost(readHost(to.host) ?? '') || (isProxy && /^(?:http|ws):$/.test(to.protocol));
}

const FIX =
  'make the backend name its own address. If both routes are one backend, give them one upstream, or upstreams below each other';

/** The error for a reference that leads to another route, or that cannot be read. */
export function crossRoute({ name }: Route, what: string): CambistError {
  const cause = `the backend's ${what}`;
  const error = new CambistError('ERR_CROSS_ROUTE_REFERENCE', `route "${name}": ${cause}: ${FIX}`);
  error.diagnosis = { finding: 'cross_route_reference', cause, fix: FIX };
  return error;
}
