import type { ConfigNode } from '../documents/config-node.ts';
import { clientCertificateRule, isLocal, reaches } from './addresses.ts';
import {
  type AuthorizationServer,
  authorizationServer,
  type ServerScope,
  type Servers,
} from './authorization-server.ts';
import { checkAgents, checkTeams, refuseSameNames, refuseSharedHeaders, refuseTies } from './check-routes.ts';
import { type Config, type ConfigFile, KEYS } from './config.ts';
import { type Draft, readAll, type Scope } from './key.ts';
import { resolveRoute } from './resolve-route.ts';
import { needsCaller, type Route, readsCaller, whyUndecidable } from './route.ts';
import { readRouteKeys } from './route-keys.ts';
import type { Sources } from './sources.ts';
import { introspectingServers, signallingServers, usedServers } from './used-servers.ts';
import { DEFAULT_SUBJECT_HEADER } from './verification.ts';

/** Makes the config from a file whose shape has been checked. Undefined after an error, which is reported to `root`. */
export function resolveConfig(file: ConfigFile, root: ConfigNode, sources: Sources): Config | undefined {
  const base: Scope = { sources, listeners: new Map(), spiffe: file.spiffe?.socket };
  const servers = resolveServers(file, root, base);
  const scope: ServerScope = { ...base, servers };
  const { interaction, limits, ...read } = readAll(KEYS, { ...file, authorization_servers: undefined }, root, scope);
  const { listen, admin, inbound, signals, decisions, intercept, forwardProxy } = read;
  if (admin?.kind === 'tcp' && clientCertificateRule(admin.tls) === 'required') {
    const fix = admin.tls === 'spiffe' ? 'use files' : 'set client_certificate: optional';
    root.at('admin', 'tls').error(`requires client certificates, which probes do not have: ${fix}`);
  }
  const usual = readRouteKeys({}, root, scope);
  const defaults = readRouteKeys(file.defaults ?? {}, root.at('defaults'), scope, usual);
  const context = { defaults, scope, interactionHosts: interaction?.hosts ?? [] };
  if (file.routes === undefined && file.routes_from === undefined) {
    root.missing('routes', 'add it (backends, in any order)');
  }
  const drafts = (file.routes ?? []).flatMap((route, index) =>
    route === undefined ? [] : [resolveRoute(route, root.at('routes', index), context)],
  );
  const routes = drafts.flatMap(({ route }) => route ?? []);
  refuseSameNames(drafts);
  refuseTies(drafts);
  checkAgents(read, drafts);
  const { routesFrom = [] } = read;
  checkTeams(routesFrom, read, drafts, root);
  refuseSharedHeaders(file, read, drafts, defaults.subjectToken?.header, root);
  if (intercept !== undefined && drafts.every(({ match }) => match !== undefined && match.host === undefined)) {
    const why = 'has no effect: no route has match.host, and only the hosts of routes are intercepted';
    root.at('intercept').warn(why, 'key');
  }
  // A route with an error may use a server.
  if (!root.broken) warnOfUnusedServers(servers, { routes, inbound, signals, routesFrom }, root);
  warnOfUnseenRevocations({ signals }, routes, root);
  for (const { route, node } of drafts) {
    if (route === undefined) continue;
    if (listen !== undefined && reaches(listen, route.upstream.origin)) {
      node.at('upstream').warn('is the address of cambist itself, so requests would loop: set the URL of the backend');
    }
    if (file.inbound !== undefined) warnOfLostCallers(route, node);
    const undecidable = decisions && whyUndecidable(route, decisions.routesBy === 'name');
    if (undecidable !== undefined) node.warn(`no decision uses this route, because ${undecidable}`, 'key');
    if (![listen, ...(intercept?.listen ?? [])].every((each) => each === undefined || isLocal(each))) {
      warnOfOpenSecret(route, node);
    }
  }
  const authorizationServers = [...servers.values()].filter((server) => server !== undefined);
  const origins = new Set(routes.map(({ upstream }) => upstream.origin));
  if (root.broken || limits === undefined) return undefined;
  // A team may have any number of upstreams.
  const upstreams = origins.size + (forwardProxy?.connect.length ?? 0) + 2 * routesFrom.length;
  const subjectHeader = defaults.subjectToken?.header ?? DEFAULT_SUBJECT_HEADER;
  const unread = { routes: [], files: [], isOpen: false, subjectHeader, context: { ...context, read, usual } };
  // Without an error, every part could be read.
  const { $schema, version, defaults: _, ...parts } = read as Required<typeof read>;
  return {
    ...(parts as Omit<Config, 'file' | 'limits' | 'authorizationServers' | 'routes' | 'teams'>),
    file: { content: file, folder: sources.base },
    limits: sharedLimits(limits, upstreams),
    authorizationServers,
    routes,
    teams: routesFrom.map((grants) => ({ ...unread, grants })),
  };
}

/** In the order of the file. Servers that others issue client assertions for are read after the others. */
function resolveServers(file: ConfigFile, root: ConfigNode, scope: Scope): Servers {
  const node = root.at('authorization_servers');
  const entries = Object.entries(file.authorization_servers ?? {});
  const hasFrom = ([, written]: (typeof entries)[number]) =>
    written?.client_auth?.from?.authorization_server !== undefined;
  const serversWithFrom = new Set(entries.filter(hasFrom).map(([name]) => name));
  const read = (isLate: boolean, servers: Servers) =>
    entries
      .filter((entry) => hasFrom(entry) === isLate)
      .map(([name, written]): [string, AuthorizationServer | undefined] => {
        const own: ServerScope = { ...scope, servers, serversWithFrom };
        const server = written && authorizationServer.read(written, node.at(name), own);
        return [name, server && { name, ...server }];
      });
  const issuers = new Map(read(false, new Map()));
  const all = new Map([...issuers, ...read(true, issuers)]);
  return new Map(entries.map(([name]) => [name, all.get(name)]));
}

/** With this much of `max_in_flight`, one backend that hangs leaves room for the others. */
const SHARE_PER_UPSTREAM = 0.75;
const MIN_CONNECTIONS = 1000;

/** @param upstreams number of backends and tunnel authorities */
function sharedLimits(limits: NonNullable<Draft<typeof KEYS>['limits']>, upstreams: number): Config['limits'] {
  const { maxInFlight, maxInFlightPerUpstream, maxConnections } = limits;
  const share = upstreams > 1 ? Math.max(1, Math.floor(maxInFlight * SHARE_PER_UPSTREAM)) : maxInFlight;
  return {
    ...limits,
    maxInFlightPerUpstream: maxInFlightPerUpstream ?? share,
    maxConnections: maxConnections ?? Math.max(MIN_CONNECTIONS, 2 * maxInFlight),
  };
}

function warnOfUnusedServers(
  servers: Servers,
  config: Pick<Config, 'routes' | 'inbound' | 'signals' | 'routesFrom'>,
  root: ConfigNode,
): void {
  const { routes, routesFrom } = config;
  const used = new Set([
    ...routesFrom.flatMap(({ authorizationServers }) => authorizationServers),
    ...[
      ...routes.flatMap(({ credential }) => usedServers(credential)),
      ...introspectingServers(config),
      ...signallingServers(config),
    ].map(({ name }) => name),
  ]);
  for (const name of servers.keys()) {
    if (used.has(name)) continue;
    const why = 'no route uses this authorization server: remove it, or name it in a route';
    root.at('authorization_servers', name).warn(why, 'key');
  }
}

function warnOfUnseenRevocations({ signals }: Pick<Config, 'signals'>, routes: readonly Route[], root: ConfigNode) {
  for (const { name, issuer } of signals?.transmitters ?? []) {
    const isOfIssuer = ({ credential, subjectToken: { verify } }: Route): boolean =>
      verify === undefined
        ? credential.kind === 'exchange' && usedServers(credential).some((server) => server.issuer === issuer)
        : verify.issuer === issuer && verify.introspection === undefined;
    const unaware = routes.filter((route) => readsCaller(route) && isOfIssuer(route));
    const isKeycloak = issuer.includes('/realms/');
    if (!isKeycloak || unaware.length === 0) continue;
    const why = `Keycloak sends no signal about disabled and deleted users, so routes serve them until cached tokens expire: set subject_token.verify.introspection for ${unaware.map((route) => `"${route.name}"`).join(', ')}`;
    root.at('signals', 'transmitters', name).warn(why, 'key');
  }
}

/** With `inbound`, every other request without a caller may be one whose handle the agent lost. */
function warnOfLostCallers({ credential }: Route, node: ConfigNode): void {
  if (credential.kind !== 'exchange' || credential.onMissingSubject === 'deny') return;
  const why =
    'with inbound, a call whose handle the agent loses gets the token of cambist itself in place of a 401: set unattended, which is for handshakes and lists alone';
  node.at('on_missing_subject').warn(why);
}

/** Such a route uses its secret for every client that can connect. */
function warnOfOpenSecret(route: Route, node: ConfigNode): void {
  if (route.credential.kind !== 'secret' || needsCaller(route)) return;
  const why =
    'every client that reaches cambist can use the secret, and it does not listen on loopback alone: set subject_token.verify, or listen on 127.0.0.1';
  node.at('credential').warn(why);
}
