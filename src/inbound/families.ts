import { counter, gauge, histogram, type MetricFamily, sample, samplesOf } from '../observability/metric-families.ts';
import type { InboundCounts } from './counts.ts';

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
    gauge('cambist_inbound_requests_in_flight', 'Requests from callers in flight, open streams included.', () => [
      sample({}, route.inFlight),
    ]),
    gauge('cambist_inbound_open_streams', 'Open streams of server-sent events, and WebSockets, to callers.', () => [
      sample({}, route.openStreams),
    ]),
    counter(
      'cambist_inbound_requests_aborted_total',
      'Requests from callers that ended before their response was complete, by the party that ended them.',
      () => samplesOf(route.aborted, (by) => ({ aborted_by: by })),
    ),
    gauge('cambist_inbound_handles', 'Handles in memory.', () => [sample({}, handles())]),
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
