import { type ErrorCode, errorCodesOf } from '../error-catalogue.ts';
import { add, expect, type Tally } from '../observability/counters.ts';
import { EXPECTED_RESPONSES } from '../observability/expected.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import type { RecentFailures } from '../observability/recent-failures.ts';
import { countResponse, createRouteCounts, type RouteCounts, responseCount } from '../observability/route-counts.ts';
import { INBOUND } from './agent-route.ts';
import { REMOVAL_REASONS, type RemovalReason } from './handles.ts';

/** Everything that `inbound` counts. */
export interface InboundCounts {
  readonly proxy: ProxyObserver;
  handleRemoved(reason: RemovalReason): void;
  /** The agent used a handle whose request is over. */
  detachedUse(result: DetachedResult): void;
  /** Of the requests of callers. */
  readonly route: Readonly<RouteCounts>;
  readonly detached: Readonly<Tally<DetachedResult>>;
  readonly removals: Readonly<Tally<RemovalReason>>;
}

/** Whether a request with a handle whose request is over was served. */
export type DetachedResult = (typeof DETACHED_RESULTS)[number];
const DETACHED_RESULTS = ['allowed', 'refused'] as const;

/** Errors of a request to the agent. */
const ERRORS: readonly ErrorCode[] = [
  'ERR_ROUTE_NOT_FOUND',
  'ERR_SUBJECT_TOKEN_MISSING',
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_REVOCATIONS_UNKNOWN',
  'ERR_STS_METADATA_INVALID',
  'ERR_STS_UNAVAILABLE',
  'ERR_CREDENTIAL_UNAVAILABLE',
  'ERR_UPSTREAM_UNREACHABLE',
  'ERR_CROSS_ROUTE_REFERENCE',
  'ERR_UPSTREAM_TIMEOUT',
  ...errorCodesOf('any'),
];

/** @param recentFailures remembers errors for the status page */
export function createInboundCounts(recentFailures: Pick<RecentFailures, 'note'>): InboundCounts {
  const counts = createRouteCounts(INBOUND);
  const removals: Tally<RemovalReason> = expect({}, REMOVAL_REASONS);
  for (const [code, outcome] of EXPECTED_RESPONSES) responseCount(counts, 'POST', code, outcome);
  expect(counts.failures, ERRORS);
  const detached: Tally<DetachedResult> = expect({}, DETACHED_RESULTS);
  const proxy: ProxyObserver = {
    requestRouted() {
      counts.inFlight += 1;
    },
    responseStarted(_route, response) {
      countResponse(counts, response);
      const { error, diagnosis } = response;
      if (error !== undefined) recentFailures.note(INBOUND, error, diagnosis);
    },
    requestFinished() {
      counts.inFlight -= 1;
    },
    requestAborted: (_route, by) => add(counts.aborted, by),
    streamOpened() {
      counts.openStreams += 1;
    },
    streamClosed() {
      counts.openStreams -= 1;
    },
    upstreamRetried: (_route, reason) => add(counts.retries, reason),
    ownTokenUsed() {},
    // The config of callers allows no tunnels, and terminates no TLS.
    tunnelOpened() {},
    tunnelClosed() {},
    handshakeFailed() {},
  };

  return {
    proxy,
    route: counts,
    detached,
    removals,
    handleRemoved: (reason) => add(removals, reason),
    detachedUse: (result) => add(detached, result),
  };
}
