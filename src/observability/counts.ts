import type { Config } from '../config/config.ts';
import { type Route, usesOwnToken } from '../config/route.ts';
import { introspectingServers, signallingServers, usedServers } from '../config/used-servers.ts';
import { ERROR_CODES } from '../error-catalogue.ts';
import { add, createHistogram, expect, type Histogram, observe, type Tally } from './counters.ts';
import { createDecisionCounts, type DecisionCounts, type DecisionProtocol, resultOf } from './decision-counts.ts';
import {
  EXCHANGE_RESULTS,
  EXPECTED_RESPONSES,
  OF_SIGNALS,
  PLAIN_ERRORS,
  SECRET_ERRORS,
  UNMATCHED,
  UNMATCHED_ERRORS,
} from './expected.ts';
import { expiringCredentials } from './expiring-credentials.ts';
import {
  HANDSHAKE_FAILURES,
  type HandshakeFailure,
  type ProxyObserver,
  type StartedResponse,
} from './proxy-observer.ts';
import { createRecentFailures } from './recent-failures.ts';
import { createRouteCounts, createRouteObserver, type RouteCounts, responseCount } from './route-counts.ts';
import {
  EVICTION_REASONS,
  type EvictionReason,
  INTROSPECTION_RESULTS,
  type IntrospectionResult,
  type TokenObserver,
} from './token-observer.ts';

/**
 * Everything that cambist counts. A request adds to plain numbers, which the metrics and the status page read on demand. Counts
 * of removed routes and servers stay, because a counter never decreases. The state of removed servers and credentials does not.
 * Only the latest removed routes of teams keep theirs, because a team may invent any number of names.
 */
export type Counts = ReturnType<typeof createCounts>;

interface TunnelCounts {
  opened: number;
  open: number;
}

interface Reloads {
  readonly results: Tally<ReloadResult>;
  /** Epoch milliseconds when the active config was loaded. */
  loadedAtMs: number;
  waitingKeys: number;
  last: { readonly atMs: number; readonly result: ReloadResult } | undefined;
}

export type ReloadResult = 'success' | 'failure';

/** The most routes of a team, so that one whose region is closed keeps its counts. */
const MAX_REMOVED = 1000;

const EXCHANGE_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** @param nowMs epoch milliseconds */
export function createCounts(nowMs: () => number) {
  const routes = new Map<string, RouteCounts>();
  /** Seconds per token request, by authorization server. */
  const exchangeDurations = new Map<string, Histogram>();
  const evictions: Tally<EvictionReason> = expect({}, EVICTION_REASONS);
  const introspections = new Map<string, Tally<IntrospectionResult>>();
  /** The key is an entry of `forward_proxy.connect`. */
  const tunnels = new Map<string, TunnelCounts>();
  /** TLS handshakes with agents that failed. Empty without `intercept`. */
  const handshakeFailures: Tally<HandshakeFailure> = {};
  /** The questions of data planes. Empty without `decisions`. */
  const decisions = new Map<DecisionProtocol, DecisionCounts>();
  const recentFailures = createRecentFailures(nowMs);
  const available = new Map<string, boolean>();
  /** Expiry of the credentials of cambist, in epoch seconds. */
  const credentials = new Map<string, number>();
  let namedCredentials: ReadonlySet<string> = new Set();
  /** A change of `signals` needs a restart, so these are the servers of the first config. */
  let signalling: readonly string[] | undefined;
  const reloads: Reloads = {
    results: expect({}, ['success', 'failure']),
    loadedAtMs: nowMs(),
    waitingKeys: 0,
    last: undefined,
  };

  const route = (name: string): RouteCounts => entry(routes, name, createRouteCounts);
  const tally = <Name extends string>(map: Map<string, Tally<Name>>, key: string) => entry(map, key, () => ({}));
  const durationsOf = (server: string): Histogram =>
    entry(exchangeDurations, server, () => createHistogram(EXCHANGE_BOUNDS));
  const tunnel = (authority: string): TunnelCounts => entry(tunnels, authority, () => ({ opened: 0, open: 0 }));

  const ofDecisions = (protocol: DecisionProtocol): DecisionCounts => entry(decisions, protocol, createDecisionCounts);

  function expectRoute(one: Route): void {
    const { name, credential } = one;
    const counts = route(name);
    if (usesOwnToken(one)) counts.ownTokens ??= 0;
    for (const [code, outcome] of EXPECTED_RESPONSES) responseCount(counts, 'POST', code, outcome);
    const asked = usedServers(credential).map(({ name }) => name);
    const plain = credential.kind === 'secret' ? SECRET_ERRORS : PLAIN_ERRORS;
    expect(counts.failures, asked.length === 0 ? plain : ERROR_CODES);
    expectExchanges(counts, asked);
  }

  function expectExchanges(counts: RouteCounts, servers: readonly string[]): void {
    for (const server of servers) {
      expect(tally(counts.exchanges, server), EXCHANGE_RESULTS);
      durationsOf(server);
    }
  }

  function forgetRemoved(served: readonly Route[]): void {
    const names = new Set(served.map(({ name }) => name));
    const isRemoved = ({ route: name, inFlight, openStreams }: RouteCounts): boolean =>
      name.includes('/') && !names.has(name) && inFlight + openStreams === 0;
    const removed = [...routes.values()].filter(isRemoved);
    if (removed.length <= MAX_REMOVED) return;
    for (const { route: name } of removed.slice(0, -MAX_REMOVED)) routes.delete(name);
  }

  return {
    /** All routes so far, `UNMATCHED`, and `OF_SIGNALS` where transmitters need tokens. */
    routes: () => [...routes.values()],
    route,
    exchangeDurations,
    evictions,
    introspections,
    tunnels,
    handshakeFailures,
    decisions,
    recentFailures,
    available,
    credentials,
    reloads,
    /** Adds everything that can occur under a config, with the count 0. */
    serve(config: Config): void {
      for (const served of config.routes) expectRoute(served);
      forgetRemoved(config.routes);
      const unmatched = route(UNMATCHED);
      responseCount(unmatched, 'POST', 403, 'refused');
      expect(unmatched.failures, UNMATCHED_ERRORS);
      for (const authority of config.forwardProxy.connect) tunnel(authority);
      if (config.intercept !== undefined) expect(handshakeFailures, HANDSHAKE_FAILURES);
      if (config.decisions?.http !== undefined) ofDecisions('http');
      if (config.decisions?.grpc !== undefined)
        for (const protocol of ['grpc', 'ext_proc'] as const) ofDecisions(protocol);
      for (const { name } of introspectingServers(config)) {
        expect(tally(introspections, name), INTROSPECTION_RESULTS);
      }
      signalling ??= signallingServers(config).map(({ name }) => name);
      if (signalling.length > 0) expectExchanges(route(OF_SIGNALS), signalling);
      const asked = new Set([
        ...config.routes.flatMap(({ credential }) => usedServers(credential).map(({ name }) => name)),
        ...signalling,
      ]);
      for (const name of available.keys()) if (!asked.has(name)) available.delete(name);
      for (const name of asked) entry(available, name, () => true);
      // The credentials of the new config report their expiry again when they are read.
      credentials.clear();
      namedCredentials = new Set(expiringCredentials(config).map(({ name }) => name));
      reloads.loadedAtMs = nowMs();
    },
    /** @param waitingKeys changed keys that need a restart. After a failure, those of the active config count */
    reloaded(result: ReloadResult, waitingKeys = reloads.waitingKeys): void {
      add(reloads.results, result);
      reloads.waitingKeys = waitingKeys;
      reloads.last = { atMs: nowMs(), result };
    },
    /** @param response undefined where the data plane did not send the secret */
    decided(protocol: DecisionProtocol, response?: Pick<StartedResponse, 'outcome' | 'durationMs'>): void {
      const { results, durations } = ofDecisions(protocol);
      add(results, response === undefined ? 'denied' : resultOf(response.outcome));
      if (response !== undefined) observe(durations, response.durationMs / 1000);
    },
    proxy: {
      ...createRouteObserver((routed) => route(routed?.name ?? UNMATCHED), recentFailures.note),
      tunnelOpened(authority) {
        tunnel(authority).opened += 1;
        tunnel(authority).open += 1;
      },
      tunnelClosed(authority) {
        tunnel(authority).open -= 1;
      },
      handshakeFailed: (cause) => add(handshakeFailures, cause),
    } satisfies ProxyObserver,
    tokens: {
      cacheLookedUp: (name, result) => add(route(name).cache, result),
      exchangeFinished({ route: name, authorizationServer, error, durationMs }) {
        add(tally(route(name).exchanges, authorizationServer), error?.code ?? '');
        observe(durationsOf(authorizationServer), durationMs / 1000);
      },
      introspected: (server, result) => add(tally(introspections, server), result),
      tokenEvicted: (reason) => add(evictions, reason),
      availabilityChanged: (server, isUp) => void available.set(server, isUp),
      credentialRead(credential, endsAtSeconds) {
        // A request from before a reload may read a credential that the config no longer names.
        if (namedCredentials.has(credential)) credentials.set(credential, endsAtSeconds);
      },
    } satisfies TokenObserver,
  };
}

function entry<Value>(map: Map<string, Value>, key: string, create: (key: string) => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = create(key);
    map.set(key, value);
  }
  return value;
}

export interface AuditCounts {
  readonly written: number;
  readonly dropped: number;
  readonly writable: boolean;
}
