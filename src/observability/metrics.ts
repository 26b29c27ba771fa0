import type { Config } from '../config/config.ts';
import type { WorkloadApi } from '../spiffe/workload-api.ts';
import { shownFiles } from '../teams/shown-files.ts';
import { countOf } from './counters.ts';
import type { AuditCounts, Counts } from './counts.ts';
import { OF_SIGNALS, UNMATCHED } from './expected.ts';
import { createExposition, type Exposition } from './exposition.ts';
import { counter, gauge, histogram, type MetricFamily, sample, samplesOf } from './metric-families.ts';
import { createRegistry } from './process-metrics.ts';
import type { ReadinessReport } from './readiness.ts';
import type { RouteCounts } from './route-counts.ts';

export interface ConnectionCounts {
  readonly open: number;
  readonly dropped: number;
}

type CountedLimits = Pick<Config['limits'], 'maxInFlight' | 'maxInFlightPerUpstream' | 'maxConnections'>;

export interface MetricSources {
  readonly counts: Counts;
  readonly cacheEntries: () => number;
  readonly cacheMaxEntries: () => number;
  readonly readiness: () => ReadinessReport;
  readonly logLinesLost: () => number;
  readonly audit: () => AuditCounts | undefined;
  readonly spiffe?: WorkloadApi['status'] | undefined;
  readonly activeConfig: () => Pick<Config, 'teams'> & { readonly limits: CountedLimits };
  readonly connections: Readonly<Record<string, () => ConnectionCounts>>;
  readonly tlsRefusals: () => readonly { readonly listener: string; readonly refused: number }[];
  /** The metrics of parts that are not always in use. */
  readonly more?: readonly MetricFamily[];
}

/** Creates all metrics. Names and labels are part of the interface to users. */
export function createMetrics(version: string, sources: MetricSources): Exposition {
  return createExposition(createRegistry(), [
    ...trafficFamilies(sources.counts),
    ...tokenFamilies(sources),
    ...ownFamilies(sources),
    ...limitFamilies(sources),
    ...(sources.spiffe === undefined ? [] : spiffeFamilies(sources.spiffe)),
    ...(sources.more ?? []),
    gauge('cambist_build_info', 'Always 1. The label has the version.', () => [sample({ version }, 1)]),
  ]);
}

function trafficFamilies({ routes, tunnels, handshakeFailures, decisions }: Counts): MetricFamily[] {
  return [
    counter('cambist_requests_total', 'Requests, by route, method, HTTP status and outcome.', () =>
      routes().flatMap(({ route, responses }) =>
        responses.map(({ count, method, code, outcome }) => sample({ route, method, code, outcome }, count)),
      ),
    ),
    counter('cambist_agent_requests_total', 'Requests of known agents, by route and class of the HTTP status.', () =>
      requested(routes()).flatMap(({ route, agents }) =>
        [...agents].flatMap(([agent, { classes }]) => samplesOf(classes, (code) => ({ agent, route, code }))),
      ),
    ),
    counter('cambist_arrivals_total', 'Requests, by route and the way that they got here.', () =>
      requested(routes()).flatMap(({ route, arrivals }) => samplesOf(arrivals, (way) => ({ route, way_in: way }))),
    ),
    counter('cambist_failures_total', 'Error responses of cambist itself, by route and error code.', () =>
      requested(routes()).flatMap(({ route, failures }) => samplesOf(failures, (error) => ({ route, error }))),
    ),
    histogram(
      'cambist_request_duration_seconds',
      'Time from the arrival of a request to its response headers.',
      // Requests without a route are not expected, so they have no series before the first.
      () =>
        requested(routes())
          .filter(({ route, durations }) => route !== UNMATCHED || countOf(durations) > 0)
          .map(({ route, durations }) => [{ route }, durations]),
    ),
    gauge('cambist_requests_in_flight', 'Requests in flight, open streams included.', () =>
      matched(routes()).map(({ route, inFlight }) => sample({ route }, inFlight)),
    ),
    gauge('cambist_open_streams', 'Open streams of server-sent events, and WebSockets.', () =>
      matched(routes()).map(({ route, openStreams }) => sample({ route }, openStreams)),
    ),
    counter(
      'cambist_requests_aborted_total',
      'Requests that ended before their response was complete, by the party that ended them.',
      () => matched(routes()).flatMap(({ route, aborted }) => samplesOf(aborted, (by) => ({ route, aborted_by: by }))),
    ),
    counter(
      'cambist_upstream_retries_total',
      'Requests sent upstream again, with another token or another proof of it.',
      () => matched(routes()).map(({ route, retries }) => sample({ route, reason: 'token' }, retries)),
    ),
    counter('cambist_tunnels_total', 'Tunnels opened to authorities of forward_proxy.connect.', () =>
      [...tunnels].map(([authority, { opened }]) => sample({ authority }, opened)),
    ),
    gauge('cambist_open_tunnels', 'Open tunnels.', () =>
      [...tunnels].map(([authority, { open }]) => sample({ authority }, open)),
    ),
    counter('cambist_handshake_failures_total', 'Intercepted TLS handshakes with agents that failed, by cause.', () =>
      samplesOf(handshakeFailures, (cause) => ({ cause })),
    ),
    counter('cambist_decisions_total', 'Decisions for data planes, by protocol and result.', () =>
      [...decisions].flatMap(([protocol, { results }]) => samplesOf(results, (result) => ({ protocol, result }))),
    ),
    histogram('cambist_decision_duration_seconds', 'Time from the question of a data plane to its response.', () =>
      [...decisions].map(([protocol, { durations }]) => [{ protocol }, durations]),
    ),
  ];
}

function tokenFamilies({ counts, cacheEntries, cacheMaxEntries }: MetricSources): MetricFamily[] {
  const { routes, evictions, introspections, exchangeDurations, available, credentials } = counts;
  return [
    gauge('cambist_cache_entries', 'Entries of the cache, one for each session and resource.', cacheEntries),
    gauge('cambist_cache_max_entries', 'Maximum number of issued tokens in the cache.', cacheMaxEntries),
    counter('cambist_cache_evictions_total', 'Issued tokens that left the cache, by reason.', () =>
      samplesOf(evictions, (reason) => ({ reason })),
    ),
    counter('cambist_introspections_total', 'Questions to authorization servers about subject tokens, by result.', () =>
      [...introspections].flatMap(([server, results]) =>
        samplesOf(results, (result) => ({ authorization_server: server, result })),
      ),
    ),
    counter('cambist_exchanges_total', 'Token requests to authorization servers, by result.', () =>
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
    histogram('cambist_exchange_duration_seconds', 'Duration of token requests.', () =>
      [...exchangeDurations].map(([server, durations]) => [{ authorization_server: server }, durations]),
    ),
    gauge('cambist_authorization_server_available', '1, or 0 while the authorization server is considered down.', () =>
      [...available].map(([server, isUp]) => sample({ authorization_server: server }, Number(isUp))),
    ),
    counter('cambist_cache_requests_total', 'Lookups in the token cache, by result.', () =>
      matched(routes()).flatMap(({ route, cache }) => samplesOf(cache, (result) => ({ route, result }))),
    ),
    counter(
      'cambist_own_token_requests_total',
      "Requests without a caller's token that ran with a token of cambist itself, by on_missing_subject or unattended.",
      () =>
        matched(routes()).flatMap(({ route, ownTokens }) =>
          ownTokens === undefined ? [] : [sample({ route }, ownTokens)],
        ),
    ),
    gauge(
      'cambist_credential_expiry_timestamp_seconds',
      'Expiry of the credentials of cambist itself that state one.',
      () => [...credentials].map(([credential, seconds]) => sample({ credential }, seconds)),
    ),
  ];
}

function ownFamilies({
  counts: { reloads },
  readiness,
  logLinesLost,
  audit,
  activeConfig,
}: MetricSources): MetricFamily[] {
  return [
    gauge('cambist_ready', '1 if /readyz returns 200, else 0.', () => Number(readiness().ready)),
    gauge('cambist_readiness_check', '1 if the readiness check has passed once, else 0.', () =>
      Object.entries(readiness().checks).map(([check, status]) => sample({ check }, Number(status === 'ready'))),
    ),
    counter('cambist_config_reloads_total', 'Attempts to reload the config, by result.', () =>
      samplesOf(reloads.results, (result) => ({ result })),
    ),
    gauge('cambist_config_last_reload_successful', '1 if the last reload succeeded, else 0.', () =>
      Number(reloads.last?.result !== 'failure'),
    ),
    gauge(
      'cambist_config_last_reload_success_timestamp_seconds',
      'Time when the active config was loaded.',
      () => reloads.loadedAtMs / 1000,
    ),
    gauge(
      'cambist_config_keys_waiting_for_restart',
      'Changed keys of the active config that need a restart.',
      () => reloads.waitingKeys,
    ),
    gauge('cambist_routes_file_valid', '1, or 0 while an error in the file closes the region of its team.', () =>
      activeConfig().teams.flatMap((team) =>
        [...shownFiles(team)].map(([file, { isValid }]) => sample({ file }, Number(isValid))),
      ),
    ),
    counter('cambist_log_lines_lost_total', 'Log lines that standard output did not accept.', logLinesLost),
    counter('cambist_audit_records_total', 'Audit records, by result.', () => {
      const counts = audit();
      if (counts === undefined) return [];
      return [sample({ result: 'written' }, counts.written), sample({ result: 'dropped' }, counts.dropped)];
    }),
    gauge('cambist_audit_writable', '1, or 0 while audit records cannot be written.', () => {
      const counts = audit();
      return counts === undefined ? [] : Number(counts.writable);
    }),
  ];
}

function limitFamilies({ activeConfig, connections, tlsRefusals }: MetricSources): MetricFamily[] {
  const perListener = (read: (counts: ConnectionCounts) => number) => () =>
    Object.entries(connections).map(([listener, counts]) => sample({ listener }, read(counts())));
  return [
    gauge('cambist_limit', 'Limits of the active config.', () => {
      const { maxInFlight, maxInFlightPerUpstream, maxConnections } = activeConfig().limits;
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
      'Connections closed because the listener had too many.',
      perListener(({ dropped }) => dropped),
    ),
    counter('cambist_tls_refusals_total', 'TLS clients that were refused, by listener.', () =>
      tlsRefusals().map(({ listener, refused }) => sample({ listener }, refused)),
    ),
  ];
}

function spiffeFamilies(status: WorkloadApi['status']): MetricFamily[] {
  return [
    gauge('cambist_spiffe_up', '1, or 0 while the SPIFFE agent is unavailable or sends an invalid SVID.', () => [
      sample({}, Number(status().isUp)),
    ]),
    gauge('cambist_spiffe_certificate_expiry_timestamp_seconds', 'Expiry of the X.509-SVID.', () => {
      const { expiresAtMs } = status();
      return expiresAtMs === undefined ? [] : [sample({}, expiresAtMs / 1000)];
    }),
  ];
}

/** Without the token requests for transmitters, which belong to no request. */
function requested(routes: readonly RouteCounts[]): RouteCounts[] {
  return routes.filter(({ route }) => route !== OF_SIGNALS);
}

/** Without the requests that match no route. */
function matched(routes: readonly RouteCounts[]): RouteCounts[] {
  return requested(routes).filter(({ route }) => route !== UNMATCHED);
}
