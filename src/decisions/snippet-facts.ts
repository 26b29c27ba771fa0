import type { Listen } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import type { Decisions } from '../config/decisions.ts';
import { type Route, whyUndecidable } from '../config/route.ts';
import { activate } from '../proxy/active-config.ts';
import { removedHeaders } from './decide.ts';

/** The parts of the config that a data plane needs to know. Contains no secret. */
export interface SnippetFacts {
  /** Where the data plane asks for decisions. */
  readonly decisions: Listen;
  /** The data plane asks by gRPC, because the config has no decisions by HTTP. */
  readonly isGrpc: boolean;
  /** Where cambist serves the metadata of protected resources. */
  readonly listen: Listen;
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
  /** As in `match`. */
  readonly host: string | undefined;
  readonly path: string;
  readonly methods: readonly string[] | undefined;
  /** Lower-case name of the header with the issued credential. Undefined: cambist adds none. */
  readonly credentialHeader: string | undefined;
  /** Lower-case names of the headers that the backend must not get from the caller, such as that of its token. */
  readonly removed: readonly string[];
  /** cambist reads the message in the body. */
  readonly needsBody: boolean;
}

/** Why no snippet has the route. Undefined: it may have it. */
export function whyLeftOut(route: Route, isNamed: boolean): string | undefined {
  if (route.team !== undefined) return 'its team changes it without the data plane: write that part by hand';
  return whyUndecidable(route, isNamed);
}

/** @returns a problem where the config does not allow such a data plane */
export function snippetFacts(config: Config, only?: string): { facts: SnippetFacts } | { problem: string } {
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
  const removed = (route: Route): string[] => [...removedHeaders(active, route)];
  return {
    facts: {
      decisions: section.listen,
      isGrpc: http === undefined,
      listen: config.listen,
      secretFile: section.secret !== undefined && 'file' in section.secret ? section.secret.file : undefined,
      routesBy,
      forwardedHeader: config.agents?.forwarded?.header,
      timeoutSeconds: Math.ceil(Math.max(...routes.map(longestMs)) / 1000) + 1,
      routes: routes.map((route) => snippetRoute(route, removed(route))),
    },
  };
}

function isByMessage({ match: { conditions } }: Route): boolean {
  return conditions?.mcpMethods !== undefined || conditions?.mcpNames !== undefined;
}

/** The data plane does not read messages, so all that share a path go to one upstream. */
function splitByMessage(routes: readonly Route[]): string | undefined {
  for (const route of routes.filter(isByMessage)) {
    const other = routes.find(
      ({ match, upstream }) => isBelow(route.match.path, match.path) && upstream.origin !== route.upstream.origin,
    );
    if (other !== undefined)
      return `routes "${route.name}" and "${other.name}" differ by message and have different upstreams, and the data plane does not read messages`;
  }
  return undefined;
}

function isBelow(path: string, prefix: string): boolean {
  return prefix === '/' || path === prefix || path.startsWith(`${prefix}/`);
}

/** The order in which `routing/route-table.ts` looks for routes. */
function bySpecificity({ match: a }: Route, { match: b }: Route): number {
  return hostRank(b.host) - hostRank(a.host) || b.path.length - a.path.length || conditionRank(b) - conditionRank(a);
}

function hostRank(host: string | undefined): number {
  if (host === undefined) return 0;
  return host.startsWith('*.') ? host.length : 1000;
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

function snippetRoute(route: Route, removed: readonly string[]): SnippetRoute {
  const { name, upstream, tls, match, credential, send, unattended } = route;
  const hasCredential = credential.kind !== 'none' && credential.kind !== 'passthrough';
  return {
    name,
    upstream,
    tls,
    host: match.host,
    path: match.path,
    methods: match.conditions?.methods,
    credentialHeader: hasCredential ? (send?.header.toLowerCase() ?? 'authorization') : undefined,
    removed,
    needsBody: unattended !== undefined || isByMessage(route),
  };
}
