import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Config } from '../config/config.ts';
import type { Counts } from './counts.ts';
import { UNMATCHED } from './expected.ts';
import { createExposition, type Exposition } from './exposition.ts';
import { countOf } from './histogram.ts';
import { counter, gauge, histogram, type MetricFamily, sample, samplesOf } from './metric-families.ts';
import type { ReadinessReport } from './readiness.ts';
import type { RouteCounts } from './route-counts.ts';

/** The connections of one listener. */
export interface ConnectionCounts {
  readonly open: number;
  readonly dropped: number;
}

/** Where the metrics are read. */
export interface MetricSources {
  readonly counts: Counts;
  readonly cacheEntries: () => number;
  readonly cacheMaxEntries: () => number;
  readonly readiness: () => ReadinessReport;
  readonly logLinesLost: () => number;
  readonly limits: () => Config['limits'];
  readonly connections: Readonly<Record<'listen' | 'admin', () => ConnectionCounts>>;
}

/** Node's gauges that `promtool check metrics` complains of: a gauge whose name ends like a counter's. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** Creates all metrics. Names and labels are part of the interface to users. */
export function createMetrics(version: string, sources: MetricSources): Exposition {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  return createExposition(registry, [
    ...trafficFamilies(sources.counts),
    ...tokenFamilies(sources),
    ...ownFamilies(sources),
    ...limitFamilies(sources),
    gauge('cambist_build_info', 'Always 1; the labels tell what is running.', () => [sample({ version }, 1)]),
  ]);
}

function trafficFamilies({ answers, routes, tunnels }: Counts): MetricFamily[] {
  return [
    counter('cambist_requests_total', 'Requests answered, by route, method, HTTP status and outcome.', () =>
      answers.map(({ count, route, method, code, outcome }) => sample({ route, method, code, outcome }, count)),
    ),
    counter(
      'cambist_failures_total',
      'Requests that cambist answered with an error of its own, by route and error code.',
      () => routes().flatMap(({ route, failures }) => samplesOf(failures, (error) => ({ route, error }))),
    ),
    histogram(
      'cambist_request_duration_seconds',
      'Time from the arrival of a request to the headers of its answer.',
      // A request that no route takes is not expected.
      () =>
        routes()
          .filter(({ route, durations }) => route !== UNMATCHED || countOf(durations) > 0)
          .map(({ route, durations }) => [{ route }, durations]),
    ),
    gauge('cambist_requests_in_flight', 'Requests under way, open streams included.', () =>
      matched(routes()).map(({ route, inFlight }) => sample({ route }, inFlight)),
    ),
    gauge('cambist_open_streams', 'Streams of server-sent events and WebSockets that are open.', () =>
      matched(routes()).map(({ route, openStreams }) => sample({ route }, openStreams)),
    ),
    counter(
      'cambist_requests_aborted_total',
      'Requests whose answer was not whole when they ended, by who ended them.',
      () => matched(routes()).flatMap(({ route, aborted }) => samplesOf(aborted, (by) => ({ route, aborted_by: by }))),
    ),
    counter(
      'cambist_upstream_retries_total',
      'Requests sent upstream again: with another token, or over HTTP/2 since they were turned away unprocessed.',
      () => matched(routes()).flatMap(({ route, retries }) => samplesOf(retries, (reason) => ({ route, reason }))),
    ),
    counter('cambist_tunnels_total', 'Tunnels that were opened to authorities of forward_proxy.connect.', () =>
      [...tunnels].map(([authority, { opened }]) => sample({ authority }, opened)),
    ),
    gauge('cambist_open_tunnels', 'Tunnels that are open.', () =>
      [...tunnels].map(([authority, { open }]) => sample({ authority }, open)),
    ),
  ];
}

function tokenFamilies({ counts, cacheEntries, cacheMaxEntries }: MetricSources): MetricFamily[] {
  const { routes, evictions, exchangeDurations, available, credentials } = counts;
  return [
    gauge('cambist_cache_entries', 'Issued tokens in the cache.', () => [sample({}, cacheEntries())]),
    gauge('cambist_cache_max_entries', 'Most issued tokens that the cache may hold.', () => [
      sample({}, cacheMaxEntries()),
    ]),
    counter('cambist_cache_evictions_total', 'Issued tokens that left the cache, by reason.', () =>
      samplesOf(evictions, (reason) => ({ reason })),
    ),
    counter('cambist_exchanges_total', 'Token requests to authorization servers, by how they ended.', () =>
      routes().flatMap(({ route, exchanges }) =>
        [...exchanges].flatMap(([server, ends]) =>
          samplesOf(ends, (error) => ({
            route,
            authorization_server: server,
            result: error === '' ? 'success' : 'failure',
            error,
          })),
        ),
      ),
    ),
    histogram('cambist_exchange_duration_seconds', 'Time that token requests took.', () =>
      [...exchangeDurations].map(([server, durations]) => [{ authorization_server: server }, durations]),
    ),
    gauge(
      'cambist_authorization_server_available',
      'Did the authorization server answer when it was last asked? 0 while it is taken to be down, else 1.',
      () => [...available].map(([server, isUp]) => sample({ authorization_server: server }, Number(isUp))),
    ),
    counter('cambist_cache_requests_total', 'How the token cache answered requests.', () =>
      matched(routes()).flatMap(({ route, cache }) => samplesOf(cache, (result) => ({ route, result }))),
    ),
    gauge(
      'cambist_credential_expiry_timestamp_seconds',
      'When a credential of cambist itself ends, where it says so.',
      () => [...credentials].map(([credential, seconds]) => sample({ credential }, seconds)),
    ),
  ];
}

function ownFamilies({ counts: { reloads }, readiness, logLinesLost }: MetricSources): MetricFamily[] {
  return [
    gauge(
      'cambist_ready',
      'Has all that the config needs been found once, and is cambist not shutting down? 1 or 0, as /readyz says.',
      () => [sample({}, Number(readiness().ready))],
    ),
    gauge('cambist_readiness_check', 'Has this part of what the config needs been found once? 1 or 0.', () =>
      Object.entries(readiness().checks).map(([check, status]) => sample({ check }, Number(status === 'ready'))),
    ),
    counter('cambist_config_reloads_total', 'Attempts to reload the config, by result.', () =>
      samplesOf(reloads.results, (result) => ({ result })),
    ),
    gauge('cambist_config_last_reload_successful', 'Is the config that is served the newest one? 1 or 0.', () => [
      sample({}, Number(reloads.last?.result !== 'failure')),
    ]),
    gauge('cambist_config_last_reload_success_timestamp_seconds', 'When the config that is served was loaded.', () => [
      sample({}, reloads.loadedAtMs / 1000),
    ]),
    counter('cambist_log_lines_lost_total', 'Lines of the log that standard output did not take.', () => [
      sample({}, logLinesLost()),
    ]),
  ];
}

function limitFamilies({ limits, connections }: MetricSources): MetricFamily[] {
  const perListener = (read: (counts: ConnectionCounts) => number) => () =>
    Object.entries(connections).map(([listener, counts]) => sample({ listener }, read(counts())));
  return [
    gauge('cambist_limit', 'Limits of the config that is served.', () => {
      const { maxInFlight, maxInFlightPerUpstream, maxConnections } = limits();
      return [
        sample({ limit: 'max_in_flight' }, maxInFlight),
        sample({ limit: 'max_in_flight_per_upstream' }, maxInFlightPerUpstream),
        sample({ limit: 'max_connections' }, maxConnections),
      ];
    }),
    gauge(
      'cambist_connections',
      'Open connections, by listener.',
      perListener(({ open }) => open),
    ),
    counter(
      'cambist_connections_dropped_total',
      'Connections that were closed at once because the listener had too many.',
      perListener(({ dropped }) => dropped),
    ),
  ];
}

/** Less what no route took. */
function matched(routes: readonly RouteCounts[]): RouteCounts[] {
  return routes.filter(({ route }) => route !== UNMATCHED);
}
