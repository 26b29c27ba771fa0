import { isIP } from 'node:net';
import { clientCertificateRule, type Listen } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import type { Decisions } from '../config/decisions.ts';
import type { TlsFiles } from '../config/kinds.ts';
import { pathMatches, readsMessage } from '../config/match.ts';
import { carrierOf, type Route, whyUndecidable } from '../config/route.ts';
import { type Endpoint, endpointOf, isEveryAddress } from '../host-names.ts';
import { reachableHost } from '../listeners/this-machine.ts';
import { activate } from '../proxy/active-config.ts';
import { hostRank } from '../routing/why-routed.ts';
import { removedHeaders } from './decide.ts';

/** A server that a data plane connects to. */
export interface Target extends Endpoint {
  /** The path of a Unix socket, in place of host and port. */
  readonly socketPath?: string;
  /** The files of the data plane, and the name in the certificate of the server. Undefined: plain. */
  readonly tls: (Partial<TlsFiles> & { readonly name: string }) | undefined;
}

/** The parts of the config that a data plane needs to know. Contains no secret. */
export interface SnippetFacts {
  /** Where the data plane asks for decisions. */
  readonly decisions: Target;
  /** The data plane asks by gRPC, because the config has no decisions by HTTP. */
  readonly isGrpc: boolean;
  /** Where cambist serves the metadata of protected resources. */
  readonly listen: Target;
  /** File of the secret for `x-cambist-decision-secret`. Undefined: none is needed. */
  readonly secretFile: string | undefined;
  readonly routesBy: Decisions['routesBy'];
  /** Lower-case name of the header in which a proxy forwards the certificates of agents. Clients must not set it. */
  readonly forwardedHeader: string | undefined;
  /** Longer than cambist takes for a decision. */
  readonly timeoutSeconds: number;
  /** The most specific comes first. At least one. */
  readonly routes: readonly SnippetRoute[];
}

export interface SnippetRoute extends Pick<Route, 'name' | 'upstream' | 'tls'> {
  readonly backend: Target;
  /** As in `match`. */
  readonly host: string | undefined;
  readonly path: string;
  readonly methods: readonly string[] | undefined;
  /** Lower-case name of the header with the issued credential. Undefined: cambist adds none. */
  readonly credentialHeader: string | undefined;
  /** Lower-case names, with dashes, of the headers that the backend must not get from the caller, such as that of its token. */
  readonly removed: readonly string[];
  /** The part that follows the path of each question: `/NAME`, or nothing where cambist finds the route itself. */
  readonly named: string;
  /** cambist reads the message in the body. */
  readonly needsBody: boolean;
}

/** Why no snippet has the route. Undefined: it may have it. */
export function whyLeftOut(route: Route, isNamed: boolean): string | undefined {
  if (route.team !== undefined) return 'its team changes it without the data plane: write that part by hand';
  return whyUndecidable(route, isNamed);
}

/** @param kind its files are in the folder of this name in `/etc` @returns a problem where the config does not allow such a data plane */
export function snippetFacts(
  config: Config,
  kind: string,
  only?: string,
): { facts: SnippetFacts } | { problem: string } {
  const { decisions } = config;
  const section = decisions?.http ?? decisions?.grpc;
  if (decisions === undefined || section === undefined)
    return { problem: 'the config has no decisions: add decisions.http' };
  const { routesBy, http } = decisions;
  if (only !== undefined && routesBy === 'match')
    return { problem: '--route needs decisions.routes_by: name, because cambist finds the route itself' };
  const found = only === undefined ? config.routes : config.routes.filter(({ name }) => name === only);
  if (found.length === 0) return { problem: `no route has the name "${only}"` };
  const routes = found.filter((route) => whyLeftOut(route, routesBy === 'name') === undefined).sort(bySpecificity);
  if (routes.length === 0) {
    const [first] = found;
    return {
      problem: `route "${first?.name}" cannot be used, because ${first && whyLeftOut(first, routesBy === 'name')}`,
    };
  }
  const split = routesBy === 'match' ? splitByMessage(routes) : undefined;
  if (split !== undefined) return { problem: split };
  const active = activate(config);
  const removed = (route: Route): string[] => [...removedHeaders(active, route)].filter((name) => !name.includes('_'));
  return {
    facts: {
      decisions: listenerOf(section.listen, kind),
      isGrpc: http === undefined,
      listen: listenerOf(config.listen, kind),
      secretFile: section.secret !== undefined && 'file' in section.secret ? section.secret.file : undefined,
      routesBy,
      forwardedHeader: config.agents?.forwarded?.header,
      timeoutSeconds: Math.ceil(Math.max(...routes.map(longestMs)) / 1000) + 1,
      routes: routes.map((route) => snippetRoute(route, removed(route), routesBy === 'name' ? `/${route.name}` : '')),
    },
  };
}

/** These data planes compare names with a certificate, and no addresses. */
const BY_NAME: readonly string[] = ['nginx', 'haproxy'];

/** A listener of cambist. The data plane has the files to trust it, and to show its own certificate. */
function listenerOf(listen: Listen, kind: string): Target {
  if (listen.kind === 'unix') return { socketPath: listen.path, host: '', port: 0, tls: undefined };
  const { host, port, tls } = listen;
  const name = isEveryAddress(host) || (BY_NAME.includes(kind) && isIP(host) !== 0) ? 'cambist' : host;
  const own = { certificate: `/etc/${kind}/client.pem`, privateKey: `/etc/${kind}/client.key` };
  const files = { ca: `/etc/${kind}/cambist-ca.pem`, ...(clientCertificateRule(tls) !== undefined && own) };
  return { host: reachableHost(host), port, tls: tls && { name, ...files } };
}

function backendOf({ upstream, tls }: Route): Target {
  const address = endpointOf(new URL(upstream.origin));
  return { ...address, tls: upstream.origin.startsWith('https:') ? { name: address.host, ...tls } : undefined };
}

/** The data plane does not read messages, so all that share a path go to one upstream. */
function splitByMessage(routes: readonly Route[]): string | undefined {
  for (const route of routes.filter(({ match }) => readsMessage(match))) {
    const other = routes.find(
      ({ match, upstream }) => pathMatches(match.path, route.match.path) && upstream.origin !== route.upstream.origin,
    );
    if (other !== undefined)
      return `routes "${route.name}" and "${other.name}" differ by message and have different upstreams, and the data plane does not read messages`;
  }
  return undefined;
}

/** The order in which `routing/route-table.ts` looks for routes. */
function bySpecificity({ match: a }: Route, { match: b }: Route): number {
  return hostRank(b.host) - hostRank(a.host) || b.path.length - a.path.length || conditionRank(b) - conditionRank(a);
}

const conditionRank = ({ conditions }: Route['match']): number => (conditions === undefined ? 0 : 1);

/** The requests to authorization servers that one decision may wait for, one after the other. */
function longestMs({ credential, subjectToken }: Route): number {
  const servers = [
    subjectToken.verify?.introspection?.authorizationServer,
    'chain' in credential ? credential.chain?.authorizationServer : undefined,
    'authorizationServer' in credential ? credential.authorizationServer : undefined,
  ];
  return servers.reduce((sum, server) => sum + (server?.timeoutMs ?? 0), 0);
}

function snippetRoute(route: Route, removed: readonly string[], named: string): SnippetRoute {
  const { name, upstream, tls, match, unattended } = route;
  return {
    name,
    upstream,
    tls,
    backend: backendOf(route),
    host: match.host,
    path: match.path,
    methods: match.conditions?.methods,
    credentialHeader: carrierOf(route),
    removed,
    named,
    needsBody: unattended !== undefined || readsMessage(match),
  };
}
