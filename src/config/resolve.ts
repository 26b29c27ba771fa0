import { clientCertificateRule, isLocal, reaches } from './addresses.ts';
import {
  type AuthorizationServer,
  authorizationServer,
  type ServerScope,
  type Servers,
} from './authorization-server.ts';
import { type Config, type ConfigFile, KEYS } from './config.ts';
import { type ConfigNode, formatPath } from './config-node.ts';
import { decisionListeners } from './decisions.ts';
import { type Draft, readAll } from './key.ts';
import { combinationsOf, readConnectAuthority } from './match.ts';
import { type RouteDraft, resolveRoute } from './resolve-route.ts';
import { needsCaller, type Route, sendsAgentToken, whyUndecidable } from './route.ts';
import { merge, readOwnKeys, usualKeys } from './route-keys.ts';
import type { Sources } from './sources.ts';
import { introspectingServers, routesUnawareOfDisabledUsers, signallingServers, usedServers } from './used-servers.ts';
import { DEFAULT_SUBJECT_HEADER } from './verification.ts';

/** Makes the config from a file whose shape has been checked. Undefined after an error, which is reported to `root`. */
export function resolveConfig(file: ConfigFile, root: ConfigNode, sources: Sources): Config | undefined {
  const servers = resolveServers(file, root, sources);
  const spiffe = file.spiffe?.socket;
  const scope: ServerScope = { sources, servers, listeners: new Map(), spiffe };
  const { interaction, limits, ...read } = readAll(KEYS, { ...file, authorization_servers: undefined }, root, scope);
  const { listen, admin, inbound, signals, decisions, intercept, forwardProxy } = read;
  if (admin?.kind === 'tcp' && clientCertificateRule(admin.tls) === 'required') {
    const fix = admin.tls === 'spiffe' ? 'use files' : 'set client_certificate: optional';
    root.at('admin', 'tls').error(`requires client certificates, which probes do not have: ${fix}`);
  }
  const others = Object.values(decisionListeners(decisions));
  const isSocket = [listen, admin, inbound?.listen, signals?.listen, ...others].some((each) => each?.kind === 'unix');
  if (file.socket_mode !== undefined && !isSocket && !root.broken) {
    root.at('socket_mode').warn('has no effect: no listener is a Unix socket', 'key');
  }
  const ownDefaults = readOwnKeys(file.defaults ?? {}, root.at('defaults'), scope);
  const defaults = merge(usualKeys(root, scope), ownDefaults);
  const context = { defaults, scope, interactionHosts: interaction?.hosts ?? [] };
  const drafts = (file.routes ?? []).flatMap((route, index) =>
    route === undefined ? [] : [resolveRoute(route, root.at('routes', index), context)],
  );
  const routes = drafts.flatMap(({ route }) => route ?? []);
  refuseSameNames(drafts);
  refuseTies(drafts);
  checkAgents(read, drafts);
  refuseSharedHeaders(file, read, drafts, defaults.subjectToken?.header, root);
  warnOfTunnels(file, drafts, root);
  if (intercept !== undefined && drafts.every(({ match }) => match !== undefined && match.host === undefined)) {
    const why = 'has no effect: no route has match.host, and only the hosts of routes are intercepted';
    root.at('intercept').warn(why, 'key');
  }
  // A route with an error may use a server.
  if (!root.broken) warnOfUnusedServers(servers, { routes, inbound, signals }, root);
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
  warnOfUnseenRevocations({ signals }, routes, root);
  const origins = new Set(routes.map(({ upstream }) => upstream.origin));
  if (root.broken || limits === undefined) return undefined;
  const upstreams = origins.size + (forwardProxy?.connect.length ?? 0);
  // Without an error, every part could be read.
  const { $schema, version, defaults: _, ...parts } = read as Required<typeof read>;
  return {
    ...(parts as Omit<Config, 'file' | 'limits' | 'authorizationServers' | 'routes'>),
    file: { content: file, folder: sources.base },
    limits: sharedLimits(limits, upstreams),
    authorizationServers,
    routes,
  };
}

/** In the order of the file. Servers that others issue client assertions for are read after the others. */
function resolveServers(file: ConfigFile, root: ConfigNode, sources: Sources): Servers {
  const node = root.at('authorization_servers');
  const entries = Object.entries(file.authorization_servers ?? {});
  const read = (isLate: boolean, servers: Servers) =>
    entries
      .filter(([, written]) => (written?.client_auth?.from?.authorization_server !== undefined) === isLate)
      .map(([name, written]): [string, AuthorizationServer | undefined] => {
        const scope: ServerScope = { sources, servers, listeners: new Map(), spiffe: file.spiffe?.socket };
        const server = written && authorizationServer.read(written, node.at(name), scope);
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

/** Refuses a header with more than one role. @param defaultSubject header of the subject token from `defaults` */
function refuseSharedHeaders(
  file: ConfigFile,
  { session, hostHeader, agents }: Draft<typeof KEYS>,
  drafts: readonly RouteDraft[],
  defaultSubject: string | undefined,
  root: ConfigNode,
): void {
  const subjects = [
    ...drafts.map(({ subjectHeader, node }) => ({ name: subjectHeader, node })),
    { name: defaultSubject, node: root.at('defaults') },
  ];
  if (hostHeader !== undefined && hostHeader === session?.header) {
    root.at('host_header').error('is also the session header: use another header');
  }
  for (const [role, taken, node] of [
    ['session', session?.header, root.at('session', 'header')],
    ['host', hostHeader, root.at('host_header')],
    ...(agents?.token ?? []).map(({ header }, index) => {
      const entry = Array.isArray(file.agents?.token) ? [index] : [];
      return ['agent', header, root.at('agents', 'token', ...entry, 'header')] as const;
    }),
    ['agent', agents?.forwarded?.header, root.at('agents', 'forwarded', 'header')],
  ] as const) {
    if (taken === undefined) continue;
    // The built-in default has no position in the file, so the other header is reported.
    if (defaultSubject === undefined && taken === DEFAULT_SUBJECT_HEADER) {
      node.error('is already the subject token header: use another header');
    }
    for (const { name, node: owner } of subjects) {
      if (name !== taken) continue;
      owner
        .at('subject_token', 'header')
        .error(`is both the subject token header and the ${role} header: change one of them`);
    }
    for (const { route, node: owner } of drafts) {
      if (route?.send?.header.toLowerCase() !== taken || owner.at('send').broken) continue;
      owner.at('send').error('puts the credential into the session header or the host header: use another header');
    }
  }
}

/** Reports routes that refer to agents or their tokens without any. */
function checkAgents({ agents }: Draft<typeof KEYS>, drafts: readonly RouteDraft[]): void {
  const known = agents?.known.map(({ name }) => name) ?? [];
  for (const { route, node } of drafts) {
    for (const [index, name] of (route?.agents ?? []).entries()) {
      if (known.includes(name) || node.at('agents').broken) continue;
      const fix = known.length === 0 ? 'name it under agents.known' : `known agents are ${known.join(', ')}`;
      node.at('agents', index).error(`unknown agent: ${fix}`);
    }
    if (route !== undefined && sendsAgentToken(route) && agents?.token === undefined) {
      node.at('actor_token').error('needs the token of an agent: set agents.token, or file instead of from');
    }
  }
}

function refuseSameNames(drafts: readonly RouteDraft[]) {
  const first = new Map<string, RouteDraft>();
  for (const draft of drafts) {
    if (draft.name === undefined) continue;
    const earlier = first.get(draft.name);
    if (earlier === undefined) first.set(draft.name, draft);
    else draft.node.at('name').error(`is also the name of ${formatPath(earlier.node.path)}: choose another name`);
  }
}

function refuseTies(drafts: readonly RouteDraft[]) {
  const first = new Map<string, RouteDraft>();
  for (const draft of drafts) {
    if (draft.match === undefined) continue;
    let earlier: RouteDraft | undefined;
    for (const combination of combinationsOf(draft.match)) {
      earlier ??= first.get(combination);
      if (!first.has(combination)) first.set(combination, draft);
    }
    if (earlier === undefined) continue;
    const other = formatPath(earlier.node.at('match').path);
    const fix =
      draft.match.conditions === undefined
        ? 'change the host or the path of one'
        : 'change the host, the path or a condition of one';
    draft.node.at('match').error(`matches the same requests as ${other}: ${fix}`);
  }
}

/** No tunnel leads to the host of a route, whatever the list says. */
function warnOfTunnels(file: ConfigFile, drafts: readonly RouteDraft[], root: ConfigNode): void {
  for (const [index, written = ''] of (file.forward_proxy?.connect ?? []).entries()) {
    const authority = readConnectAuthority(written);
    const host = 'value' in authority && authority.value.replace(/:\d+$/, '');
    const route = drafts.find(({ match }) => match?.host === host);
    if (route === undefined) continue;
    const other = formatPath(route.node.at('match').path);
    root
      .at('forward_proxy', 'connect', index)
      .warn(`is also the host of ${other}, which never gets a tunnel: remove one of them`);
  }
}

function warnOfUnusedServers(
  servers: Servers,
  config: Pick<Config, 'routes' | 'inbound' | 'signals'>,
  root: ConfigNode,
): void {
  const others = [...introspectingServers(config), ...signallingServers(config)].map(({ name }) => name);
  const used = new Set([
    ...config.routes.flatMap(({ credential }) => usedServers(credential).map(({ name }) => name)),
    ...others,
  ]);
  for (const name of servers.keys()) {
    if (used.has(name)) continue;
    const why = 'no route uses this authorization server: remove it, or name it in a route';
    root.at('authorization_servers', name).warn(why, 'key');
  }
}

function warnOfUnseenRevocations({ signals }: Pick<Config, 'signals'>, routes: readonly Route[], root: ConfigNode) {
  for (const { name, issuer } of signals?.transmitters ?? []) {
    const unaware = routesUnawareOfDisabledUsers(issuer, routes);
    if (unaware.length === 0) continue;
    const why = `Keycloak sends no signal about disabled and deleted users, so routes serve them until cached tokens expire: set subject_token.verify.introspection for ${unaware.map((name) => `"${name}"`).join(', ')}`;
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
