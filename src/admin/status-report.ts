import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from '../config/config.ts';
import { usedServers } from '../config/used-servers.ts';
import { describeError } from '../error-catalogue.ts';
import type { InboundSource } from '../inbound/inbound.ts';
import { countOf, total } from '../observability/counters.ts';
import type { AuditCounts, Counts } from '../observability/counts.ts';
import { UNMATCHED } from '../observability/expected.ts';
import type { Readiness } from '../observability/readiness.ts';
import { fixOf } from '../observability/recent-failures.ts';
import type { RecentTraffic } from '../observability/recent-traffic.ts';
import { oncePer } from '../secrets/secret.ts';
import type { SharedCacheStatus } from '../shared-cache/shared-cache.ts';
import type { SignalsStatus } from '../signals/signals.ts';
import {
  dataPlanes,
  figures,
  isoTime,
  percentiles,
  recentFigures,
  routeNames,
  routeStatus,
  stateOf,
  teamStatus,
} from './route-status.ts';

/** The content of the status page and of `/status.json`: names, codes and numbers, as in `/metrics`. */
export type StatusReport = ReturnType<Status['report']>;
export type ServerStatus = StatusReport['authorization_servers'][number];
export type FailureStatus = StatusReport['failures'][number];
export type AgentStatus = NonNullable<StatusReport['agents']>[number];
export type InboundStatus = NonNullable<StatusReport['inbound']>;

interface StatusSources {
  readonly version: string;
  readonly counts: Counts;
  readonly traffic: RecentTraffic;
  readonly readiness: Readiness;
  readonly cacheEntries: () => number;
  readonly sharedCache?: (() => SharedCacheStatus) | undefined;
  readonly signals?: (() => SignalsStatus) | undefined;
  readonly audit?: (() => AuditCounts) | undefined;
  /** Returns undefined without `inbound`. */
  readonly inbound?: () => InboundSource | undefined;
  /** Returns the share of an agent in the limits. */
  readonly agentLoad: (agent: string) => { readonly in_flight: number; readonly connections: number };
  readonly nowMs: () => number;
}

/** Builds the report for the active config. */
export type Status = ReturnType<typeof createStatus>;

export type Charts = ReturnType<Status['charts']>;

const MAX_DATE_SECONDS = 8.64e12;

export function createStatus(sources: StatusSources) {
  const { version, counts, traffic, readiness, cacheEntries, inbound, nowMs, sharedCache, signals, audit } = sources;
  const startedAt = isoTime(nowMs());
  let served: { config: Config; waiting: readonly string[] } | undefined;

  return {
    /** @param waiting keys whose change needs a restart */
    serve(config: Config, waiting: readonly string[]): void {
      served = { config, waiting };
      traffic.serve([...routeNames(config), UNMATCHED]);
    },
    /** The last quarter of an hour, one entry for each interval. The last interval is the current one. */
    charts() {
      const all = [...routeNames(served?.config), UNMATCHED];
      const callers = inbound?.();
      return {
        responses: traffic.intervals(all),
        // An interval without responses has none.
        p95Ms: traffic.quantiles(all, 0.95).map((seconds) => seconds && 1000 * seconds),
        route: (name: string) => traffic.intervals([name]),
        inbound: callers === undefined ? [] : callers.traffic.intervals([callers.counts.route.route]),
      };
    },
    report() {
      const { ready, checks } = readiness.report();
      const config = served?.config;
      const routes = config?.routes ?? [];
      const { loadedAtMs, last } = counts.reloads;
      return {
        version,
        // In Kubernetes, this is the name of the pod.
        host: hostname(),
        at: isoTime(nowMs()),
        started_at: startedAt,
        ready,
        // Readiness checks that have not passed yet.
        missing: Object.entries(checks)
          .filter(([, status]) => status !== 'ready')
          .map(([check, status]) => {
            const diagnosis = readiness.diagnosisOf(check);
            return { check, status, cause: diagnosis?.cause, fix: diagnosis?.fix ?? fixOf(status) };
          }),
        config: {
          // Two configs have different versions.
          version: config === undefined ? '' : versionOf(config),
          loaded_at: isoTime(loadedAtMs),
          // Keys that changed in the file and keep their value until a restart.
          waits_for_restart: served?.waiting ?? [],
          last_reload: last && { at: isoTime(last.atMs), result: last.result },
        },
        totals: figures([...routes.map(({ name }) => counts.route(name)), counts.route(UNMATCHED)]),
        recent: recentFigures(traffic.of([...routeNames(config), UNMATCHED])),
        cache: { entries: cacheEntries(), max_entries: config?.cache.maxEntries ?? 0 },
        shared_cache: sharedCache?.(),
        signals: signals?.(),
        audit: audit?.(),
        authorization_servers: config === undefined ? [] : serverStatus(config, counts, checks),
        routes: routes.map((route) => routeStatus(route, counts.route(route.name), traffic.of([route.name]))),
        teams: config?.teams.length ? config.teams.map(teamStatus) : undefined,
        agents: agentStatus(config, sources),
        inbound: inboundStatus(inbound?.(), config),
        data_planes: dataPlanes(counts.decisions),
        // `finding` is a code of `cambist doctor`. `team` owns the route, or the region of requests that no route takes.
        failures: counts.recentFailures.list().map(({ route, team, error, count, lastMs, diagnosis }) => ({
          route,
          team,
          error,
          status: describeError(error).status,
          title: describeError(error).title,
          finding: diagnosis?.finding,
          cause: diagnosis?.cause,
          fix: diagnosis?.fix ?? fixOf(error) ?? '',
          count,
          last_at: isoTime(lastMs),
        })),
        credentials: [...counts.credentials]
          // JavaScript has no later dates.
          .filter(([, seconds]) => Math.abs(seconds) <= MAX_DATE_SECONDS)
          .sort(([, one], [, other]) => one - other)
          .map(([name, seconds]) => ({ name, expires_at: isoTime(seconds * 1000) })),
      };
    },
  };
}

function serverStatus(config: Config, counts: Counts, checks: Readonly<Record<string, string>>) {
  const used = new Set(config.routes.flatMap(({ credential }) => usedServers(credential).map(({ name }) => name)));
  return [...used].map((name) => {
    const found = (checks[`authorization_servers.${name}`] ?? 'ready') === 'ready';
    const isDown = counts.available.get(name) === false;
    const state: 'down' | 'available' | 'not found' = isDown ? 'down' : found ? 'available' : 'not found';
    const durations = counts.exchangeDurations.get(name);
    const exchanges = durations === undefined ? 0 : countOf(durations);
    const successes = counts.routes().reduce((sum, route) => sum + (route.exchanges.get(name)?.[''] ?? 0), 0);
    return {
      name,
      state,
      exchanges,
      failures: exchanges - successes,
      // The mean is that of all exchanges so far.
      mean_ms: durations && exchanges > 0 ? Math.round((10_000 * durations.sum) / exchanges) / 10 : undefined,
      ...(durations && percentiles(durations)),
    };
  });
}

/** The requests of each agent. Undefined without `agents`. */
function agentStatus(config: Config | undefined, { counts, agentLoad }: StatusSources) {
  if (config?.agents === undefined) return undefined;
  const all = new Map(
    config.agents.known.map(({ name }) => [name, { name, requests: 0, unauthorized: 0, forbidden: 0 }]),
  );
  for (const [name, { classes, unauthorized, forbidden }] of counts.routes().flatMap((route) => [...route.agents])) {
    const sum = all.get(name);
    if (sum === undefined) continue;
    sum.requests += total(classes);
    sum.unauthorized += unauthorized;
    sum.forbidden += forbidden;
  }
  return [...all.values()].map((sum) => ({ ...sum, ...agentLoad(sum.name) }));
}

/** Nothing without `inbound`, whose modules are not loaded then. */
function inboundStatus(source: InboundSource | undefined, config: Config | undefined) {
  if (source === undefined) return undefined;
  const { counts, traffic, agent, handles } = source;
  const recent = traffic.of([counts.route.route]);
  const { origin, socketPath } = agent();
  return {
    agent: socketPath === undefined ? origin : `unix:${socketPath}`,
    state: stateOf(recent.latest),
    latest: recent.latest,
    recent: recentFigures(recent),
    handles: { entries: handles(), max_entries: config?.cache.maxEntries ?? 0 },
    // The agent sent these requests with a handle whose own request was over.
    detached: { refused: counts.detached.refused ?? 0, allowed: counts.detached.allowed ?? 0 },
    ...figures([counts.route]),
  };
}

/** A digest that is short enough to compare by eye. It covers the config with its defaults, which contains no secrets. */
const versionOf = oncePer(({ file, teams, ...config }: Config) => {
  const all = { ...config, teams: teams.map(({ grants }) => grants) };
  return createHash('sha256').update(JSON.stringify(all)).digest('hex').slice(0, 8);
});
