import type { Config } from '../config/config.ts';
import { type Route, usesOwnToken } from '../config/route.ts';
import { usedServers } from '../config/used-servers.ts';
import { ERROR_CODES } from '../error-catalogue.ts';
import { add, entry, expect, observe, type Tally } from './counters.ts';
import { createDecisionCounts, type DecisionCounts, type DecisionProtocol, resultOf } from './decision-counts.ts';
import { EXPECTED_RESPONSES, PLAIN_ERRORS, SECRET_ERRORS, UNMATCHED, UNMATCHED_ERRORS } from './expected.ts';
import {
  HANDSHAKE_FAILURES,
  type HandshakeFailure,
  type ProxyObserver,
  type StartedResponse,
} from './proxy-observer.ts';
import { createRecentFailures } from './recent-failures.ts';
import { createRouteCounts, createRouteObserver, type RouteCounts, responseCount } from './route-counts.ts';
import { createTokenCounts } from './token-counts.ts';

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

/** @param nowMs epoch milliseconds */
export function createCounts(nowMs: () => number) {
  const routes = new Map<string, RouteCounts>();
  /** The key is an entry of `forward_proxy.connect`. */
  const tunnels = new Map<string, TunnelCounts>();
  /** TLS handshakes with agents that failed. Empty without `intercept`. */
  const handshakeFailures: Tally<HandshakeFailure> = {};
  /** The questions of data planes. Empty without `decisions`. */
  const decisions = new Map<DecisionProtocol, DecisionCounts>();
  const recentFailures = createRecentFailures(nowMs);
  const reloads: Reloads = {
    results: expect({}, ['success', 'failure']),
    loadedAtMs: nowMs(),
    waitingKeys: 0,
    last: undefined,
  };

  const route = (name: string): RouteCounts => entry(routes, name, createRouteCounts);
  const tunnel = (authority: string): TunnelCounts => entry(tunnels, authority, () => ({ opened: 0, open: 0 }));
  const ofDecisions = (protocol: DecisionProtocol): DecisionCounts => entry(decisions, protocol, createDecisionCounts);
  const ofTokens = createTokenCounts(route);

  return {
    /** All routes so far, `UNMATCHED`, and `OF_SIGNALS` where transmitters need tokens. */
    routes: () => [...routes.values()],
    route,
    ...ofTokens.counts,
    tunnels,
    handshakeFailures,
    decisions,
    recentFailures,
    reloads,
    /** Adds everything that can occur under a config, with the count 0. */
    serve(config: Config): void {
      for (const served of config.routes) expectRoute(route(served.name), served);
      forgetRemoved(routes, config.routes);
      const unmatched = route(UNMATCHED);
      responseCount(unmatched, 'POST', 403, 'refused');
      expect(unmatched.failures, UNMATCHED_ERRORS);
      for (const authority of config.forwardProxy.connect) tunnel(authority);
      if (config.intercept !== undefined) expect(handshakeFailures, HANDSHAKE_FAILURES);
      if (config.decisions?.http !== undefined) ofDecisions('http');
      if (config.decisions?.grpc !== undefined)
        for (const protocol of ['grpc', 'ext_proc'] as const) ofDecisions(protocol);
      ofTokens.serve(config);
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
    tokens: ofTokens.observer,
  };
}

function expectRoute(counts: RouteCounts, one: Route): void {
  const { credential } = one;
  if (usesOwnToken(one)) counts.ownTokens ??= 0;
  for (const [code, outcome] of EXPECTED_RESPONSES) responseCount(counts, 'POST', code, outcome);
  const plain = credential.kind === 'secret' ? SECRET_ERRORS : PLAIN_ERRORS;
  expect(counts.failures, usedServers(credential).length === 0 ? plain : ERROR_CODES);
}

function forgetRemoved(routes: Map<string, RouteCounts>, served: readonly Route[]): void {
  const names = new Set(served.map(({ name }) => name));
  const isRemoved = ({ route: name, inFlight, openStreams }: RouteCounts): boolean =>
    name.includes('/') && !names.has(name) && inFlight + openStreams === 0;
  const removed = [...routes.values()].filter(isRemoved);
  if (removed.length <= MAX_REMOVED) return;
  for (const { route: name } of removed.slice(0, -MAX_REMOVED)) routes.delete(name);
}

export interface AuditCounts {
  readonly written: number;
  readonly dropped: number;
  readonly writable: boolean;
}
