import type { Config } from '../config/config.ts';
import { HOP_BY_HOP } from '../config/header-names.ts';
import { readHost } from '../routing/request-target.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { claimsOf } from '../tokens/subject.ts';
import { callerReference, crossRoute } from './caller-reference.ts';
import { metadataUrls, withoutScopeChallenges, withResourceMetadata } from './challenges.ts';
import { createEndpointRewriter, type Rewriter } from './endpoint-event.ts';
import { connectionOptions, headerValues, isEncoded, type RawHeaders, wantsStream, without } from './headers.ts';
import { isMadeFromCallers } from './obtain-token.ts';
import { clientOf, describesItself, issuerOf, metadataUrl } from './resource-metadata.ts';
import type { Prepared } from './steps.ts';

const NO_CONTENT = 204;
/** A 204 must not carry it (RFC 9110 section 8.6). */
const LENGTH: ReadonlySet<string> = new Set(['content-length']);
/** Only cambist's own proofs need it. A caller's proofs are for cambist (RFC 9449 section 8.2). */
const NONCE: ReadonlySet<string> = new Set(['dpop-nonce']);

/**
 * These headers are dropped. `Alt-Svc` leads clients past cambist, only browsers read `Refresh`, and the others make a gateway in front
 * of cambist send the request elsewhere, with the token of the caller.
 */
const DROPPED: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  'alt-svc',
  'refresh',
  'x-accel-redirect',
  'x-lighttpd-send-file',
  'x-litespeed-location',
  'x-reproxy-url',
  'x-sendfile',
]);

/** Rules for a whole origin. One backend must not make them where routes share the origin. */
const ORIGIN_WIDE: ReadonlySet<string> = new Set([
  'clear-site-data',
  'nel',
  'public-key-pins',
  'report-to',
  'service-worker-allowed',
  'strict-transport-security',
]);

/** Their values depend on the route. */
const CHANGED: ReadonlySet<string> = new Set([
  ...ORIGIN_WIDE,
  'content-location',
  'link',
  'location',
  'set-cookie',
  'www-authenticate',
]);

/**
 * The headers of a response as the caller gets them. URLs, challenges and cookies are rewritten where they would lead the caller
 * past cambist, or to another backend.
 * @throws {CambistError} ERR_CROSS_ROUTE_REFERENCE
 */
export function responseHeaders(
  raw: RawHeaders,
  status: number,
  token: IssuedToken | undefined,
  prepared: Prepared,
): string[] {
  let change: Change | undefined;
  let headers = callerHeaders(raw, (key, value) => {
    change ??= createChange(raw, prepared);
    return change(key, value);
  });
  if (status === NO_CONTENT) headers = without(headers, LENGTH);
  if (token?.dpop !== undefined) headers = without(headers, NONCE);
  return headers;
}

/**
 * Builds the response headers that the caller gets.
 * @param change of the headers whose value depends on the route
 */
function callerHeaders(raw: RawHeaders, change: Change): string[] {
  const headers: string[] = [];
  let listed: Set<string> | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const key = name.toLowerCase();
    if (key === 'connection') listed = connectionOptions([value], listed);
    if (DROPPED.has(key)) continue;
    const changed = CHANGED.has(key) ? change(key, value) : value;
    if (changed !== undefined) headers.push(name, changed);
  }
  return listed === undefined ? headers : without(headers, listed);
}

/** Returns the value of a header for the caller; undefined drops it. @param key lower case */
type Change = (key: string, value: string) => string | undefined;

/** More references, and longer challenges, are not read: each costs time. */
const MAX_REFERENCES = 100;
const MAX_CHALLENGE_BYTES = 4096;

function createChange(raw: RawHeaders, prepared: Prepared): Change {
  const { route } = prepared;
  let references = 0;
  let challengeBytes = 0;

  function rewrite(key: string, reference: string): string {
    references += 1;
    if (references > MAX_REFERENCES) throw crossRoute(route, `headers have more than ${MAX_REFERENCES} URLs`);
    return callerReference(Buffer.from(reference, 'latin1').toString('utf8'), prepared, key);
  }

  return (key, value) => {
    if (ORIGIN_WIDE.has(key)) return sharesOrigin(prepared) ? undefined : value;
    switch (key) {
      case 'link':
        // Some clients need no brackets.
        if (!LINKS.test(value)) return undefined;
        return value.replace(/<([^<>]*)>/g, (_, reference: string) => `<${rewrite(key, reference)}>`);
      case 'set-cookie':
        return sharesOrigin(prepared) ? cookieOf(value, route.match.path) : value;
      case 'www-authenticate':
        challengeBytes += value.length;
        if (challengeBytes > MAX_CHALLENGE_BYTES) return undefined;
        if (describesItself(route)) return challengeOf(value, prepared);
        for (const url of metadataUrls(value)) rewrite(key, url);
        return value;
      default:
        // Clients differ in which of several they read.
        if (headerValues(raw, key).length > 1) throw crossRoute(route, `${key} is sent more than once`);
        return rewrite(key, value);
    }
  };
}

/** Every link has brackets. */
const LINKS = /^[ \t,]*(?:<[^<>]*>[^<>]*)*$/;

/** Do clients know other routes by the same host? Not where the route is for the backend's own host. */
function sharesOrigin({ request, route: { match, upstream }, target }: Prepared): boolean {
  if (isOnlyRoute(request.active.config)) return false;
  return match.host === undefined || target.host !== readHost(upstream.host);
}

/** A team may have no routes for a moment. */
function isOnlyRoute({ routes, teams }: Config): boolean {
  return routes.length === 1 && teams.length === 0;
}

/** A cookie that clients send on this route alone. @param path of the route */
function cookieOf(value: string, path: string): string {
  const kept = value.split(';').filter((part, index) => index === 0 || !/^\s*(?:domain|path)\s*(?:=|$)/i.test(part));
  return `${kept.join(';')}; Path=${path}`;
}

/** A challenge that names the metadata of cambist itself. Undefined where it is of no use to the caller. */
function challengeOf(value: string, prepared: Prepared): string | undefined {
  const { request, target, route } = prepared;
  const kept = withoutScopeChallenges(value, (scopes) => helpsToSignIn(prepared, scopes));
  return kept && withResourceMetadata(kept, metadataUrl(route, target.path, clientOf(request)));
}

/**
 * Could a caller get what the backend asks for by signing in again with these scopes? MCP clients do that at the server of
 * cambist's metadata whenever a challenge has `insufficient_scope`. Scopes that mean nothing there would send the user to a
 * sign-in that fails, or that changes nothing.
 */
function helpsToSignIn({ route, session }: Prepared, scopes: readonly string[]): boolean {
  const { credential, subjectToken } = route;
  // The backend judges the caller's own token.
  if (credential.kind === 'passthrough') return true;
  if (credential.kind !== 'exchange' || !isMadeFromCallers({ route, session })) return false;
  const issuer = issuerOf(route);
  // The server may trust the caller's issuer. A sign-in at the issuer of the metadata would then give another kind of token.
  const callersIssuer = session.subject && claimsOf(session.subject)?.iss;
  if (issuer !== undefined && callersIssuer !== undefined && callersIssuer !== issuer) return false;
  if (subjectToken.scope !== undefined) {
    const known = subjectToken.scope.split(' ');
    return scopes.every((scope) => known.includes(scope));
  }
  const { authorizationServer, chain } = credential;
  // Two legs, or an assertion grant: the caller's token is for cambist, and its scopes are others than those of the backend.
  if (chain !== undefined || authorizationServer.grant !== 'token_exchange') return false;
  return issuer !== undefined && issuer === authorizationServer.issuer;
}

const UTF_8 = /;[ \t]*charset="?utf-?8"?(?=[ \t]*(?:;|$))/i;

/**
 * Rewrites the stream of an HTTP+SSE server (MCP 2024-11-05). Undefined for every other response.
 * @param headers as the caller gets them. `Content-Length` is removed, because the length may change
 * @throws {CambistError} ERR_CROSS_ROUTE_REFERENCE where the stream cannot be read
 */
export function streamRewriter(prepared: Prepared, status: number, headers: string[]): Rewriter | undefined {
  const { request, route } = prepared;
  if (request.incoming.method !== 'GET' || status < 200 || status > 299) return undefined;
  const types = headerValues(headers, 'content-type');
  const isStream = types.some((type) => /text\/event-stream/i.test(type));
  if (!isStream && !wantsStream(request.incoming.rawHeaders)) return undefined;
  // Clients in Python and Java decode the stream as the charset says, in any spelling (RFC 2231).
  if (isEncoded(headers) || types.some((type) => /charset/i.test(type.replace(UTF_8, '')))) {
    if (isOnlyRoute(request.active.config)) return undefined;
    throw crossRoute(route, 'event stream is encoded, or not in UTF-8, so its endpoint cannot be checked');
  }
  headers.splice(0, headers.length, ...without(headers, LENGTH));
  return createEndpointRewriter((url) => {
    if (url === undefined) throw crossRoute(route, 'endpoint event is malformed');
    return callerReference(url, prepared, 'endpoint event');
  });
}
