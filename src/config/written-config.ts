import type { Config } from './config.ts';
import { hideKeys } from './hide-keys.ts';
import type { Audit, Inbound, Intercept, Signals, Transmitter } from './optional-sections.ts';
import type { ConfigFile, Loose } from './schema.ts';
import { writtenRoute } from './written-route.ts';
import { writtenServer } from './written-server.ts';
import { writtenSharedCache } from './written-shared-cache.ts';
import {
  address,
  duration,
  file,
  nonEmpty,
  type ShowSource,
  size,
  source,
  writtenVerification,
} from './written-values.ts';

/**
 * The config as a file could have it: all defaults filled in, `defaults` merged into the routes. It contains no secret: secrets are
 * files and variables, and parts that could be one are hidden. Without hidden parts, it loads as the same config.
 */
export function writtenConfig(config: Config, show: ShowSource): Loose<ConfigFile> {
  return { ...writtenTop(config, show), routes: config.routes.map((route) => writtenRoute(route, show)) };
}

export function writtenTop(config: Config, show: ShowSource): Loose<ConfigFile> {
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
  const hasSockets = [listen, admin, inbound?.listen, signals?.listen].some((one) => one?.kind === 'unix');
  // All routes whose callers can consent have the same hosts.
  const consentHosts = config.routes.find(({ consent }) => consent !== undefined)?.consent?.hosts ?? [];
  return {
    version: 1,
    listen: address(listen),
    admin: address(admin),
    socket_mode: hasSockets ? socketMode.toString(8).padStart(4, '0') : undefined,
    admin_hosts: nonEmpty(adminHosts),
    log,
    audit: audit && writtenAudit(audit, show),
    tracing,
    interaction: consentHosts.length > 0 ? { hosts: consentHosts } : undefined,
    host_header: hostHeader,
    session,
    cache: {
      max_entries: cache.maxEntries,
      max_age: duration(cache.maxAgeMs),
      shared: cache.shared && writtenSharedCache(cache.shared, show),
    },
    limits: {
      max_in_flight: limits.maxInFlight,
      max_in_flight_per_upstream: limits.maxInFlightPerUpstream,
      max_connections: limits.maxConnections,
      max_header_size: size(limits.maxHeaderBytes),
      shutdown_grace: duration(limits.shutdownGraceMs),
    },
    forward_proxy: forwardProxy.connect.length > 0 ? forwardProxy : undefined,
    intercept: intercept && writtenIntercept(intercept, show),
    inbound: inbound && writtenInbound(inbound),
    signals: signals && writtenSignals(signals, show),
    authorization_servers: servers.length > 0 ? Object.fromEntries(servers) : undefined,
  };
}

function writtenAudit({ to, claims, tools, onFull, pseudonyms }: Audit, show: ShowSource): Loose<ConfigFile>['audit'] {
  return {
    to: to.kind === 'file' ? { file: to.path } : to.kind === 'unix' ? `unix:${to.path}` : to.kind,
    claims,
    tools,
    on_full: onFull,
    pseudonymize: pseudonyms && { key: source(pseudonyms.key, show), claims: pseudonyms.claims },
  };
}

function writtenIntercept({ ca, trustDir, listen }: Intercept, show: ShowSource): Loose<ConfigFile>['intercept'] {
  const authority =
    ca.kind === 'files'
      ? { certificate: file(ca.certificate, show), private_key: file(ca.privateKey, show) }
      : ca.kind === 'dir'
        ? { dir: ca.dir }
        : ca.kind;
  return { ca: authority, trust_dir: trustDir, listen: nonEmpty(listen.map(address)) };
}

function writtenSignals({ listen, rememberMs, transmitters }: Signals, show: ShowSource): Loose<ConfigFile>['signals'] {
  return {
    listen: listen && address(listen),
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
    audience,
    jwks_uri: jwksUri && hideKeys(jwksUri),
    delivery,
    authorization: source(authorization, show),
    authorization_server: client?.authorizationServer.name,
    scope: client?.scope,
    poll_endpoint: pollEndpoint && hideKeys(pollEndpoint),
    poll_interval: delivery === 'poll' ? duration(pollIntervalMs) : undefined,
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
}: Inbound): Loose<ConfigFile>['inbound'] {
  return {
    listen: address(listen),
    agent: agent.socketPath === undefined ? agent.origin : `unix:${agent.socketPath}`,
    verify: writtenVerification(verify),
    open: nonEmpty(open.map(({ path, isPrefix }) => (isPrefix ? `${path}*` : path))),
    claims: claims.length > 0 ? Object.fromEntries(claims) : undefined,
    allow_raw_tokens: allowRawTokens,
    baggage,
    detached,
  };
}
