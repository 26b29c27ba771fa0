import { collide, isLocal, type Listen, reaches, readListen } from './addresses.ts';
import type { AuthorizationServer, Servers } from './authorization-server.ts';
import type { Config } from './config.ts';
import { type ConfigNode, formatPath, readEach, valueOrReport } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import { type NamedHeader, readHeaderName, refuseSharedHeaders } from './header-names.ts';
import { readConnectAuthority, readHostPattern, readInteractionHost } from './matching.ts';
import { needsCaller } from './needs-caller.ts';
import { readDuration, readSize } from './quantities.ts';
import { resolveAudit } from './resolve-audit.ts';
import { resolveAuthorizationServer } from './resolve-authorization-server.ts';
import { resolveInbound } from './resolve-inbound.ts';
import { resolveIntercept } from './resolve-intercept.ts';
import { combinationsOf } from './resolve-match.ts';
import { type RouteDraft, resolveRoute } from './resolve-route.ts';
import { readRouteKeys } from './resolve-route-keys.ts';
import { resolveSharedCache } from './resolve-shared-cache.ts';
import { resolveSignals } from './resolve-signals.ts';
import type { ConfigFile, Loose } from './schema.ts';
import type { Sources } from './sources.ts';
import { introspectingServers, signallingServers, usedServerNames } from './used-servers.ts';

/** Makes the config from a file whose shape has been checked. Undefined after an error, which is reported to `root`. */
export function resolveConfig(file: Loose<ConfigFile>, root: ConfigNode, sources: Sources): Config | undefined {
  const { listen, admin } = resolveAddresses(file, root);
  const servers = resolveServers(file, root, sources);
  const defaultsNode = root.at('defaults');
  const defaults = readRouteKeys(file.defaults ?? {}, defaultsNode, servers, sources);
  const interactionHosts = readEach(file.interaction?.hosts, root.at('interaction', 'hosts'), readInteractionHost);
  const drafts = (file.routes ?? []).flatMap((route, index) =>
    route === undefined
      ? []
      : [resolveRoute(route, root.at('routes', index), { defaults, servers, sources, interactionHosts })],
  );
  refuseSameNames(drafts);
  refuseTies(drafts);
  const inbound = resolveInbound(file.inbound, { listen, admin }, servers, root.at('inbound'));
  const others = { listen, admin, 'inbound.listen': inbound?.listen };
  const signals = resolveSignals(file.signals, others, servers, root.at('signals'), sources);
  const config = {
    log: { level: file.log?.level ?? DEFAULTS.logLevel, sample: file.log?.sample ?? DEFAULTS.logSample },
    audit: resolveAudit(file.audit, root.at('audit'), sources),
    tracing: { mcp: file.tracing?.mcp ?? DEFAULTS.tracingMcp },
    socketMode: resolveSocketMode(file, [listen, admin, inbound?.listen, signals?.listen], root),
    adminHosts: resolveAdminHosts(file, root),
    ...resolveHeaders(file, drafts, defaults.subjectToken?.header, root),
    cache: {
      maxEntries: file.cache?.max_entries ?? DEFAULTS.maxEntries,
      maxAgeMs: readDuration(file.cache?.max_age ?? DEFAULTS.maxAge, root.at('cache', 'max_age'), {
        min: '1s',
        max: '24h',
      }),
      shared: resolveSharedCache(file.cache?.shared, root.at('cache', 'shared'), sources),
    },
    forwardProxy: resolveForwardProxy(file, drafts, root),
    inbound,
    signals,
    intercept: resolveIntercept(file.intercept, { listen, admin }, drafts, root.at('intercept'), sources),
  };
  warnOfUnusedServers(servers, drafts, config, root);
  warnOfLoops(listen, drafts);
  warnOfOpenSecrets([...(listen === undefined ? [] : [listen]), ...(config.intercept?.listen ?? [])], drafts);
  const authorizationServers = [...servers.values()].filter((server) => server !== undefined);
  const routes = drafts.map(({ route }) => route).filter((route) => route !== undefined);
  const origins = new Set(routes.map(({ upstream }) => upstream.origin));
  const limits = resolveLimits(file, origins.size + config.forwardProxy.connect.length, root);
  if (root.broken || listen === undefined || admin === undefined) return undefined;
  return {
    file: { content: file, folder: sources.base },
    listen,
    admin,
    ...config,
    limits,
    authorizationServers,
    routes,
  };
}

function resolveAddresses(file: Loose<ConfigFile>, root: ConfigNode): Record<'listen' | 'admin', Listen | undefined> {
  const listen = valueOrReport(readListen(file.listen ?? DEFAULTS.listen), root.at('listen'));
  const admin = valueOrReport(readListen(file.admin ?? DEFAULTS.admin), root.at('admin'));
  if (listen !== undefined && admin !== undefined && collide(listen, admin)) {
    root.at(file.admin === undefined ? 'listen' : 'admin').error('listen and admin have the same address: change one');
  }
  return { listen, admin };
}

function resolveSocketMode(
  file: Loose<ConfigFile>,
  listeners: readonly (Listen | undefined)[],
  root: ConfigNode,
): number {
  if (file.socket_mode !== undefined && !root.broken && listeners.every((listen) => listen?.kind !== 'unix')) {
    root.at('socket_mode').warn('has no effect: no listener is a Unix socket', 'key');
  }
  return Number.parseInt(file.socket_mode ?? DEFAULTS.socketMode, 8);
}

function resolveAdminHosts(file: Loose<ConfigFile>, root: ConfigNode): readonly string[] {
  return readEach(file.admin_hosts, root.at('admin_hosts'), (written) => {
    const host = readHostPattern(written);
    const isWildcard = 'value' in host && host.value.startsWith('*.');
    return isWildcard ? { problem: 'must be one host name, without a wildcard' } : host;
  });
}

/** In the order of the file. Servers that others issue client assertions for are read after the others. */
function resolveServers(file: Loose<ConfigFile>, root: ConfigNode, sources: Sources) {
  const node = root.at('authorization_servers');
  const entries = Object.entries(file.authorization_servers ?? {});
  const issuers = new Map<string, AuthorizationServer | undefined>();
  const read = ([name, written]: (typeof entries)[number], from: typeof issuers) =>
    written === undefined ? undefined : resolveAuthorizationServer(name, written, node.at(name), sources, from);
  for (const entry of entries) {
    if (entry[1]?.client_auth?.from === undefined) issuers.set(entry[0], read(entry, new Map()));
  }
  return new Map(
    entries.map((entry) => [entry[0], issuers.has(entry[0]) ? issuers.get(entry[0]) : read(entry, issuers)]),
  );
}

/** With this much of `max_in_flight`, one backend that hangs leaves room for the others. */
const SHARE_PER_UPSTREAM = 0.75;
const MIN_CONNECTIONS = 1000;

/** @param upstreams number of backends and tunnel authorities */
function resolveLimits(file: Loose<ConfigFile>, upstreams: number, root: ConfigNode): Config['limits'] {
  const { max_in_flight, max_in_flight_per_upstream, max_connections, max_header_size, shutdown_grace } =
    file.limits ?? {};
  const node = root.at('limits');
  const maxInFlight = max_in_flight ?? DEFAULTS.maxInFlight;
  const share = upstreams > 1 ? Math.max(1, Math.floor(maxInFlight * SHARE_PER_UPSTREAM)) : maxInFlight;
  if (max_in_flight_per_upstream !== undefined && max_in_flight_per_upstream > maxInFlight) {
    node.at('max_in_flight_per_upstream').error(`must be at most limits.max_in_flight, ${maxInFlight}`);
  }
  if (max_connections !== undefined && max_connections < maxInFlight) {
    node.at('max_connections').warn(`is below limits.max_in_flight, ${maxInFlight}: connections are dropped first`);
  }
  return {
    maxInFlight,
    maxInFlightPerUpstream: max_in_flight_per_upstream ?? share,
    maxConnections: max_connections ?? Math.max(MIN_CONNECTIONS, 2 * maxInFlight),
    maxHeaderBytes: readSize(max_header_size ?? DEFAULTS.maxHeaderSize, node.at('max_header_size'), {
      min: '1KiB',
      max: '1MiB',
    }),
    shutdownGraceMs: readDuration(shutdown_grace ?? DEFAULTS.shutdownGrace, node.at('shutdown_grace'), { max: '1h' }),
  };
}

/** @param defaultSubject header of the subject token from `defaults` */
function resolveHeaders(
  file: Loose<ConfigFile>,
  drafts: readonly RouteDraft[],
  defaultSubject: string | undefined,
  root: ConfigNode,
) {
  const session = readHeader(file.session?.header ?? DEFAULTS.sessionHeader, root.at('session', 'header'));
  const host = file.host_header === undefined ? undefined : readHeader(file.host_header, root.at('host_header'));
  const subjects = drafts.flatMap(({ subjectHeader, node }) =>
    subjectHeader === undefined ? [] : [{ name: subjectHeader, node: node.at('subject_token', 'header') }],
  );
  if (defaultSubject !== undefined) {
    subjects.push({ name: defaultSubject, node: root.at('defaults', 'subject_token', 'header') });
  } else {
    // The built-in default has no position in the file, so the other header is reported.
    for (const taken of [session, host]) {
      if (taken?.name === DEFAULTS.subjectTokenHeader)
        taken.node.error('is already the subject token header: use another header');
    }
  }
  refuseSharedHeaders(session, host, subjects);
  for (const { route, node } of drafts) {
    const sent = route?.send?.header.toLowerCase();
    if (node.at('send').broken) continue;
    if (sent === session.name || (sent !== undefined && sent === host?.name)) {
      node.at('send').error('puts the credential into the session header or the host header: use another header');
    }
  }
  return { session: { header: session.name }, hostHeader: host?.name };
}

function readHeader(written: string, node: ConfigNode): NamedHeader {
  return { name: readHeaderName(written, node), node };
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

/** Reads the allowed tunnels. None leads to the host of a route, whatever the list says. */
function resolveForwardProxy(
  file: Loose<ConfigFile>,
  drafts: readonly RouteDraft[],
  root: ConfigNode,
): Config['forwardProxy'] {
  const connect = readEach(file.forward_proxy?.connect, root.at('forward_proxy', 'connect'), (written, node) => {
    const authority = readConnectAuthority(written);
    const host = 'value' in authority && authority.value.replace(/:\d+$/, '');
    const route = drafts.find(({ match }) => match?.host === host);
    if (route !== undefined) {
      const other = formatPath(route.node.at('match').path);
      node.warn(`is also the host of ${other}, which never gets a tunnel: remove one of them`);
    }
    return authority;
  });
  return { connect };
}

function warnOfUnusedServers(
  servers: Servers,
  drafts: readonly RouteDraft[],
  config: Pick<Config, 'inbound' | 'signals'>,
  root: ConfigNode,
) {
  // A route with an error may use the server.
  if (root.broken) return;
  const used = new Set<string>();
  const routes = drafts.map(({ route }) => route).filter((route) => route !== undefined);
  for (const { credential } of routes) for (const name of usedServerNames(credential)) used.add(name);
  for (const { name } of introspectingServers({ ...config, routes })) used.add(name);
  for (const { name } of signallingServers(config)) used.add(name);
  for (const name of servers.keys()) {
    if (!used.has(name))
      root
        .at('authorization_servers', name)
        .warn('no route uses this authorization server: remove it, or name it in a route', 'key');
  }
}

/** A request in a loop matches a route again and again, until `limits.max_in_flight` refuses it. */
function warnOfLoops(listen: Listen | undefined, drafts: readonly RouteDraft[]) {
  for (const { route, node } of drafts) {
    if (listen === undefined || route === undefined || !reaches(listen, route.upstream.origin)) continue;
    node.at('upstream').warn('is the address of cambist itself, so requests would loop: set the URL of the backend');
  }
}

/** Such a route uses its secret for every client that can connect. */
function warnOfOpenSecrets(listeners: readonly Listen[], drafts: readonly RouteDraft[]) {
  if (listeners.every(isLocal)) return;
  for (const { route, node } of drafts) {
    if (route?.credential.kind !== 'secret' || needsCaller(route)) continue;
    node
      .at('credential')
      .warn(
        'every client that reaches cambist can use the secret, and it does not listen on loopback alone: set subject_token.verify, ' +
          'or listen on 127.0.0.1',
      );
  }
}
