import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config } from '../config/config.ts';
import { usedServers } from '../config/used-servers.ts';
import { describeError, type ErrorCode } from '../error-catalogue.ts';
import type { InboundSource } from '../inbound/inbound.ts';
import { countOf, total } from '../observability/counters.ts';
import type { AuditCounts, Counts, ReloadResult } from '../observability/counts.ts';
import { UNMATCHED } from '../observability/expected.ts';
import type { Readiness } from '../observability/readiness.ts';
import { fixOf } from '../observability/recent-failures.ts';
import type { RecentTraffic } from '../observability/recent-traffic.ts';
import type { ResponseClasses } from '../observability/response-classes.ts';
import { oncePer } from '../secrets/secret.ts';
import type { SharedCacheStatus } from '../shared-cache/shared-cache.ts';
import type { SignalsStatus } from '../signals/signals.ts';
import {
  type DataPlaneStatus,
  dataPlanes,
  type Figures,
  figures,
  isoTime,
  percentiles,
  type RecentFigures,
  type RouteState,
  type RouteStatus,
  recentFigures,
  routeNames,
  routeStatus,
  stateOf,
  type TeamStatus,
  teamStatus,
} from './route-status.ts';

/** The content of the status page and of `/status.json`: names, codes and numbers, as in `/metrics`. */
export interface StatusReport {
  readonly version: string;
  /** The name of the machine; in Kubernetes, of the pod. */
  readonly host: string;
  readonly at: string;
  readonly started_at: string;
  readonly ready: boolean;
  /** Readiness checks that have not passed yet. */
  readonly missing: readonly {
    readonly check: string;
    readonly status: string;
    readonly cause?: string | undefined;
    readonly fix?: string | undefined;
  }[];
  readonly config: ConfigStatus;
  readonly totals: Figures;
  readonly recent: RecentFigures;
  readonly cache: { readonly entries: number; readonly max_entries: number };
  readonly shared_cache?: SharedCacheStatus | undefined;
  readonly audit?: AuditCounts | undefined;
  readonly signals?: SignalsStatus | undefined;
  readonly authorization_servers: readonly ServerStatus[];
  readonly routes: readonly RouteStatus[];
  /** Those of `routes_from`. */
  readonly teams?: readonly TeamStatus[] | undefined;
  readonly agents?: readonly AgentStatus[] | undefined;
  readonly inbound?: InboundStatus | undefined;
  /** By protocol. */
  readonly data_planes?: readonly DataPlaneStatus[] | undefined;
  readonly failures: readonly FailureStatus[];
  readonly credentials: readonly { readonly name: string; readonly expires_at: string }[];
}

export interface AgentStatus extends AgentLoad {
  readonly name: string;
  readonly requests: number;
  /** Responses with 401. */
  readonly unauthorized: number;
  /** Responses with 403. */
  readonly forbidden: number;
}

/** The share of an agent in the limits. */
interface AgentLoad {
  readonly in_flight: number;
  readonly connections: number;
}

export interface InboundStatus extends Figures {
  readonly agent: string;
  readonly state: RouteState;
  readonly latest: ResponseClasses;
  readonly recent: RecentFigures;
  readonly handles: { readonly entries: number; readonly max_entries: number };
  /** Requests of the agent with a handle whose request was over. */
  readonly detached: { readonly refused: number; readonly allowed: number };
}

interface ConfigStatus {
  /** Differs between configs. */
  readonly version: string;
  readonly loaded_at: string;
  /** Keys that changed in the file and keep their value until a restart. */
  readonly waits_for_restart: readonly string[];
  readonly last_reload?: { readonly at: string; readonly result: ReloadResult } | undefined;
}

export interface ServerStatus {
  readonly name: string;
  readonly state: 'available' | 'down' | 'not found';
  readonly exchanges: number;
  readonly failures: number;
  /** The mean of all exchanges so far. */
  readonly mean_ms?: number | undefined;
  readonly p50_ms?: number | undefined;
  readonly p95_ms?: number | undefined;
  readonly p99_ms?: number | undefined;
}

export interface FailureStatus {
  readonly route?: string | undefined;
  /** The team that owns the route, or the region of requests that no route takes. */
  readonly team?: string | undefined;
  readonly error: ErrorCode;
  /** HTTP status of the responses: 4xx if the caller has to act. */
  readonly status: number;
  readonly title: string;
  /** Code of the finding of `cambist doctor`, if the cause is known. */
  readonly finding?: string | undefined;
  readonly cause?: string | undefined;
  readonly fix: string;
  readonly count: number;
  readonly last_at: string;
}

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
  readonly agentLoad: (agent: string) => AgentLoad;
  readonly nowMs: () => number;
}

/** Builds the report for the active config. */
export type Status = ReturnType<typeof createStatus>;

/** The last quarter of an hour, one entry for each interval. The last interval is the current one. */
export interface Charts {
  readonly responses: readonly ResponseClasses[];
  /** Milliseconds. An interval without responses has none. */
  readonly p95Ms: readonly (number | undefined)[];
  readonly route: (name: string) => readonly ResponseClasses[];
  readonly inbound: readonly ResponseClasses[];
}

const MAX_DATE_SECONDS = 8.64e12;

export function createStatus(sources: StatusSources) {
  const { version, counts, traffic, readiness, cacheEntries, inbound, nowMs, sharedCache, signals, audit, agentLoad } =
    sources;
  const startedAt = isoTime(nowMs());
  let served: { config: Config; waiting: readonly string[] } | undefined;

  function servers(config: Config, checks: Readonly<Record<string, string>>): ServerStatus[] {
    const used = new Set(config.routes.flatMap(({ credential }) => usedServers(credential).map(({ name }) => name)));
    return [...used].map((name) => {
      const found = (checks[`authorization_servers.${name}`] ?? 'ready') === 'ready';
      const durations = counts.exchangeDurations.get(name);
      const exchanges = durations === undefined ? 0 : countOf(durations);
      const successes = counts.routes().reduce((sum, route) => sum + (route.exchanges.get(name)?.[''] ?? 0), 0);
      return {
        name,
        state: counts.available.get(name) === false ? 'down' : found ? 'available' : 'not found',
        exchanges,
        failures: exchanges - successes,
        mean_ms: durations && exchanges > 0 ? Math.round((10_000 * durations.sum) / exchanges) / 10 : undefined,
        ...(durations && percentiles(durations)),
      };
    });
  }

  /** Undefined without `agents`. */
  function agents(config: Config | undefined): AgentStatus[] | undefined {
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

  return {
    /** @param waiting keys whose change needs a restart */
    serve(config: Config, waiting: readonly string[]): void {
      served = { config, waiting };
      traffic.serve([...routeNames(config), UNMATCHED]);
    },
    charts(): Charts {
      const all = [...routeNames(served?.config), UNMATCHED];
      const callers = inbound?.();
      return {
        responses: traffic.intervals(all),
        p95Ms: traffic.quantiles(all, 0.95).map((seconds) => seconds && 1000 * seconds),
        route: (name) => traffic.intervals([name]),
        inbound: callers === undefined ? [] : callers.traffic.intervals([callers.counts.route.route]),
      };
    },
    report(): StatusReport {
      const { ready, checks } = readiness.report();
      const config = served?.config;
      const routes = config?.routes ?? [];
      const { loadedAtMs, last } = counts.reloads;
      return {
        version,
        host: hostname(),
        at: isoTime(nowMs()),
        started_at: startedAt,
        ready,
        missing: Object.entries(checks)
          .filter(([, status]) => status !== 'ready')
          .map(([check, status]) => {
            const diagnosis = readiness.diagnosisOf(check);
            return { check, status, cause: diagnosis?.cause, fix: diagnosis?.fix ?? fixOf(status) };
          }),
        config: {
          version: config === undefined ? '' : versionOf(config),
          loaded_at: isoTime(loadedAtMs),
          waits_for_restart: served?.waiting ?? [],
          last_reload: last && { at: isoTime(last.atMs), result: last.result },
        },
        totals: figures([...routes.map(({ name }) => counts.route(name)), counts.route(UNMATCHED)]),
        recent: recentFigures(traffic.of([...routeNames(config), UNMATCHED])),
        cache: { entries: cacheEntries(), max_entries: config?.cache.maxEntries ?? 0 },
        shared_cache: sharedCache?.(),
        signals: signals?.(),
        audit: audit?.(),
        authorization_servers: config === undefined ? [] : servers(config, checks),
        routes: routes.map((route) => routeStatus(route, counts.route(route.name), traffic.of([route.name]))),
        teams: config?.teams.length ? config.teams.map(teamStatus) : undefined,
        agents: agents(config),
        inbound: inboundStatus(inbound?.(), config),
        data_planes: dataPlanes(counts.decisions),
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

/** Nothing without `inbound`, whose modules are not loaded then. */
function inboundStatus(source: InboundSource | undefined, config: Config | undefined): InboundStatus | undefined {
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
    detached: { refused: counts.detached.refused ?? 0, allowed: counts.detached.allowed ?? 0 },
    ...figures([counts.route]),
  };
}

/** A digest that is short enough to compare by eye. It covers the config with its defaults, which contains no secrets. */
const versionOf = oncePer(({ file, teams, ...config }: Config) => {
  const all = { ...config, teams: teams.map(({ grants }) => grants) };
  return createHash('sha256').update(JSON.stringify(all)).digest('hex').slice(0, 8);
});
