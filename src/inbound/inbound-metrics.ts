import { type ErrorCode, errorCodesOf } from '../error-catalogue.ts';
import { add, expect, type Tally } from '../observability/counters.ts';
import { EXPECTED_RESPONSES } from '../observability/expected.ts';
import { counter, gauge, histogram, type MetricFamily, sample, samplesOf } from '../observability/metric-families.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import type { RecentFailures } from '../observability/recent-failures.ts';
import { createRouteCounts, createRouteObserver, responseCount } from '../observability/route-counts.ts';
import { INBOUND } from './agent-route.ts';
import { REMOVAL_REASONS, type RemovalReason } from './handles.ts';

export type InboundCounts = ReturnType<typeof createInboundCounts>;

/** The fate of a request with a handle whose request is over. */
export type DetachedResult = (typeof DETACHED_RESULTS)[number];
const DETACHED_RESULTS = ['allowed', 'refused'] as const;

const ERRORS: readonly ErrorCode[] = [
  'ERR_ROUTE_NOT_FOUND',
  'ERR_TOO_MANY_HEADERS',
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
export function createInboundCounts(recentFailures: Pick<RecentFailures, 'note'>) {
  const counts = createRouteCounts(INBOUND);
  const removals: Tally<RemovalReason> = expect({}, REMOVAL_REASONS);
  for (const [code, outcome] of EXPECTED_RESPONSES) responseCount(counts, 'POST', code, outcome);
  expect(counts.failures, ERRORS);
  const detached: Tally<DetachedResult> = expect({}, DETACHED_RESULTS);
  const proxy: ProxyObserver = {
    ...createRouteObserver(
      () => counts,
      (_route, error, diagnosis) => recentFailures.note(INBOUND, error, diagnosis),
    ),
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
    handleRemoved: (reason: RemovalReason) => add(removals, reason),
    /** The agent used a handle whose request is over. */
    detachedUse: (result: DetachedResult) => add(detached, result),
  };
}

/** The metrics of `inbound`. @param handles returns the current number of handles */
export function inboundFamilies(
  { route, detached, removals }: Pick<InboundCounts, 'route' | 'detached' | 'removals'>,
  handles: () => number,
): MetricFamily[] {
  return [
    counter('cambist_inbound_requests_total', 'Requests from callers, by method, HTTP status and outcome.', () =>
      route.responses.map(({ count, method, code, outcome }) => sample({ method, code, outcome }, count)),
    ),
    counter('cambist_inbound_failures_total', 'Error responses of cambist itself to callers, by error code.', () =>
      samplesOf(route.failures, (error) => ({ error })),
    ),
    histogram(
      'cambist_inbound_request_duration_seconds',
      'Time from the arrival of a request from a caller to its response headers.',
      () => [[{}, route.durations]],
    ),
    gauge(
      'cambist_inbound_requests_in_flight',
      'Requests from callers in flight, open streams included.',
      () => route.inFlight,
    ),
    gauge(
      'cambist_inbound_open_streams',
      'Open streams of server-sent events, and WebSockets, to callers.',
      () => route.openStreams,
    ),
    counter(
      'cambist_inbound_requests_aborted_total',
      'Requests from callers that ended before their response was complete, by the party that ended them.',
      () => samplesOf(route.aborted, (by) => ({ aborted_by: by })),
    ),
    gauge('cambist_inbound_handles', 'Handles in memory.', handles),
    counter(
      'cambist_inbound_detached_requests_total',
      'Requests of the agent with a handle whose request from the caller is over, by result.',
      () => samplesOf(detached, (result) => ({ result })),
    ),
    counter('cambist_inbound_handle_removals_total', 'Handles that were removed, by reason.', () =>
      samplesOf(removals, (reason) => ({ reason })),
    ),
  ];
}
