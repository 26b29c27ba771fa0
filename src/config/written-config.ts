import type { Config } from './config.ts';
import { hideKeys } from './hide-keys.ts';
import type { Audit, Inbound, Intercept, Signals, Transmitter } from './optional-sections.ts';
import type { ConfigFile } from './schema.ts';
import { writtenRoute } from './written-route.ts';
import { writtenServer } from './written-server.ts';
import { writtenSharedCache } from './written-shared-cache.ts';
import { address, duration, type ShowSource, size, source, writtenVerification } from './written-values.ts';

/**
 * The config as a file could have it: all defaults filled in, `defaults` merged into the routes. It contains no secret: secrets are
 * files and variables, and parts that could be one are hidden. Without hidden parts, it loads as the same config.
 */
export function writtenConfig(config: Config, show: ShowSource): ConfigFile {
  return { ...writtenTop(config, show), routes: config.routes.map((route) => writtenRoute(route, show)) };
}

export function writtenTop(config: Config, show: ShowSource): Omit<ConfigFile, 'routes'> {
  const {
    listen,
    admin,
    adminHosts,
    socketMode,
    log,
    audit,
    tracing,
    intercept,
    inbound,
    signals,
    hostHeader,
    session,
    cache,
    limits,
    forwardProxy,
  } = config;
  const servers = config.authorizationServers.map((server) => [server.name, writtenServer(server, show)] as const);
  // All routes whose callers can consent have the same hosts.
  const consentHosts = config.routes.find(({ consent }) => consent !== undefined)?.consent?.hosts ?? [];
  return {
    version: 1,
    listen: address(listen),
    admin: address(admin),
    ...([listen, admin, inbound?.listen, signals?.listen].some((one) => one?.kind === 'unix') && {
      socket_mode: socketMode.toString(8).padStart(4, '0'),
    }),
    ...(adminHosts.length > 0 && { admin_hosts: [...adminHosts] }),
    log: { ...log },
    ...(audit !== undefined && { audit: writtenAudit(audit, show) }),
    tracing: { ...tracing },
    ...(consentHosts.length > 0 && { interaction: { hosts: [...consentHosts] } }),
    ...(hostHeader !== undefined && { host_header: hostHeader }),
    session: { ...session },
    cache: {
      max_entries: cache.maxEntries,
      max_age: duration(cache.maxAgeMs),
      ...(cache.shared !== undefined && { shared: writtenSharedCache(cache.shared, show) }),
    },
    limits: {
      max_in_flight: limits.maxInFlight,
      max_in_flight_per_upstream: limits.maxInFlightPerUpstream,
      max_connections: limits.maxConnections,
      max_header_size: size(limits.maxHeaderBytes),
      shutdown_grace: duration(limits.shutdownGraceMs),
    },
    ...(forwardProxy.connect.length > 0 && { forward_proxy: { connect: [...forwardProxy.connect] } }),
    ...(intercept !== undefined && { intercept: writtenIntercept(intercept, show) }),
    ...(inbound !== undefined && { inbound: writtenInbound(inbound) }),
    ...(signals !== undefined && { signals: writtenSignals(signals, show) }),
    ...(servers.length > 0 && { authorization_servers: Object.fromEntries(servers) }),
  };
}

function writtenAudit({ to, claims, tools, onFull, pseudonyms }: Audit, show: ShowSource): ConfigFile['audit'] {
  return {
    to: to.kind === 'file' ? { file: to.path } : to.kind === 'unix' ? `unix:${to.path}` : to.kind,
    claims: [...claims],
    tools,
    on_full: onFull,
    ...(pseudonyms !== undefined && {
      pseudonymize: { key: source(pseudonyms.key, show), claims: [...pseudonyms.claims] },
    }),
  };
}

function writtenIntercept({ ca, trustDir, listen }: Intercept, show: ShowSource): ConfigFile['intercept'] {
  const file = (path: string) => ({ file: show({ file: path }) });
  const authority =
    ca.kind === 'files'
      ? { certificate: file(ca.certificate), private_key: file(ca.privateKey) }
      : ca.kind === 'dir'
        ? { dir: ca.dir }
        : ca.kind;
  return { ca: authority, trust_dir: trustDir, ...(listen.length > 0 && { listen: listen.map(address) }) };
}

function writtenSignals({ listen, rememberMs, transmitters }: Signals, show: ShowSource): ConfigFile['signals'] {
  return {
    ...(listen !== undefined && { listen: address(listen) }),
    remember: duration(rememberMs),
    transmitters: Object.fromEntries(
      transmitters.map((transmitter) => [transmitter.name, writtenTransmitter(transmitter, show)]),
    ),
  };
}

function writtenTransmitter(transmitter: Transmitter, show: ShowSource) {
  const { issuer, audience, jwksUri, delivery, authorization, client, pollEndpoint, pollIntervalMs } = transmitter;
  return {
    issuer,
    audience: [...audience],
    ...(jwksUri !== undefined && { jwks_uri: hideKeys(jwksUri) }),
    ...(delivery !== undefined && { delivery }),
    ...(authorization !== undefined && { authorization: { file: show(authorization) } }),
    ...(client !== undefined && { authorization_server: client.authorizationServer.name }),
    ...(client?.scope !== undefined && { scope: client.scope }),
    ...(pollEndpoint !== undefined && { poll_endpoint: hideKeys(pollEndpoint) }),
    ...(delivery === 'poll' && { poll_interval: duration(pollIntervalMs) }),
    backchannel_logout: transmitter.backchannelLogout,
  };
}

function writtenInbound({
  listen,
  agent,
  verify,
  open,
  claims,
  allowRawTokens,
  baggage,
  detached,
}: Inbound): ConfigFile['inbound'] {
  return {
    listen: address(listen),
    agent: agent.socketPath === undefined ? agent.origin : `unix:${agent.socketPath}`,
    verify: { ...writtenVerification(verify), audience: [...verify.audience] },
    ...(open.length > 0 && { open: open.map(({ path, isPrefix }) => (isPrefix ? `${path}*` : path)) }),
    ...(claims.length > 0 && { claims: Object.fromEntries(claims) }),
    allow_raw_tokens: allowRawTokens,
    baggage,
    detached,
  };
}
