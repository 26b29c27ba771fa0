import { createHash } from 'node:crypto';
import type { Config, Credential } from '../config/config.ts';
import { usedServerNames } from '../config/used-servers.ts';
import type { Diagnosis } from '../errors.ts';
import { countOf, total } from '../observability/counters.ts';
import type { Counts, ReloadResult } from '../observability/counts.ts';
import { UNMATCHED } from '../observability/expected.ts';
import type { Readiness } from '../observability/readiness.ts';
import { fixOf } from '../observability/recent-failures.ts';
import type { RouteCounts } from '../observability/route-counts.ts';

/** The content of the status page and of `/status.json`: names, codes and numbers, as in `/metrics`. */
export interface StatusReport {
  readonly version: string;
  readonly started_at: string;
  readonly ready: boolean;
  /** Readiness checks that have not passed yet. */
  readonly missing: readonly {
    readonly check: string;
    readonly status: string;
    readonly cause?: string;
    readonly fix?: string;
  }[];
  readonly config: ConfigStatus;
  readonly totals: Figures;
  readonly cache: { readonly entries: number; readonly max_entries: number };
  readonly authorization_servers: readonly ServerStatus[];
  readonly routes: readonly RouteStatus[];
  readonly failures: readonly FailureStatus[];
  readonly credentials: readonly { readonly name: string; readonly expires_at: string }[];
}

export interface ConfigStatus {
  /** Differs between configs. */
  readonly version: string;
  readonly loaded_at: string;
  /** Keys that changed in the file and keep their value until a restart. */
  readonly waits_for_restart: readonly string[];
  /** Undefined before the first reload. */
  readonly last_reload?: { readonly at: string; readonly result: ReloadResult } | undefined;
}

export interface Figures {
  readonly requests: number;
  readonly failures: number;
  readonly backend_errors: number;
  readonly in_flight: number;
  readonly open_streams: number;
  /** Requests that needed a token, and those of them without an exchange. */
  readonly needed_token: number;
  readonly served_from_cache: number;
}

export interface ServerStatus {
  readonly name: string;
  readonly state: 'available' | 'down' | 'not found';
  readonly exchanges: number;
  readonly failures: number;
  /** Undefined before the first exchange. */
  readonly mean_ms?: number | undefined;
}

export interface RouteStatus extends Figures {
  readonly name: string;
  readonly credential: Credential['kind'];
  readonly authorization_servers: readonly string[];
}

export interface FailureStatus {
  readonly route?: string | undefined;
  readonly error: string;
  /** Code of the finding of `cambist doctor`. Undefined if the cause is unknown. */
  readonly finding?: string | undefined;
  readonly cause?: string | undefined;
  readonly fix: string;
  readonly count: number;
  readonly last_at: string;
}

export interface StatusSources {
  readonly version: string;
  readonly counts: Counts;
  readonly readiness: Readiness;
  readonly cacheEntries: () => number;
  readonly nowMs: () => number;
}

/** Builds the report for the active config. */
export interface Status {
  /** @param waiting keys whose change needs a restart */
  serve(config: Config, waiting: readonly string[]): void;
  report(): StatusReport;
}

const MAX_DATE_SECONDS = 8.64e12;

export function createStatus({ version, counts, readiness, cacheEntries, nowMs }: StatusSources): Status {
  const startedAt = isoTime(nowMs());
  let served: { config: Config; version: string; waiting: readonly string[] } | undefined;

  function servers(config: Config, checks: Readonly<Record<string, string>>): ServerStatus[] {
    const used = new Set(config.routes.flatMap(({ credential }) => usedServerNames(credential)));
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
        ...(durations !== undefined &&
          exchanges > 0 && { mean_ms: Math.round((10_000 * durations.sum) / exchanges) / 10 }),
      };
    });
  }

  return {
    serve(config, waiting) {
      served = { config, version: versionOf(config), waiting };
    },
    report() {
      const { ready, checks } = readiness.report();
      const config = served?.config;
      const routes = config?.routes ?? [];
      const { loadedAtMs, last } = counts.reloads;
      return {
        version,
        started_at: startedAt,
        ready,
        missing: Object.entries(checks)
          .filter(([, status]) => status !== 'ready')
          .map(([check, status]) => ({ check, status, ...explained(status, readiness.diagnosisOf(check)) })),
        config: {
          version: served?.version ?? '',
          loaded_at: isoTime(loadedAtMs),
          waits_for_restart: served?.waiting ?? [],
          ...(last !== undefined && { last_reload: { at: isoTime(last.atMs), result: last.result } }),
        },
        totals: figures([...routes.map(({ name }) => counts.route(name)), counts.route(UNMATCHED)]),
        cache: { entries: cacheEntries(), max_entries: config?.cache.maxEntries ?? 0 },
        authorization_servers: config === undefined ? [] : servers(config, checks),
        routes: routes.map((route) => ({
          name: route.name,
          credential: route.credential.kind,
          authorization_servers: usedServerNames(route.credential),
          ...figures([counts.route(route.name)]),
        })),
        failures: counts.recentFailures.list().map(({ route, error, count, lastMs, diagnosis }) => ({
          ...(route !== undefined && { route }),
          error,
          ...(diagnosis !== undefined && { finding: diagnosis.finding, cause: diagnosis.cause }),
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

function figures(routes: readonly Readonly<RouteCounts>[]): Figures {
  const sum = (of: (counts: RouteCounts) => number): number => routes.reduce((all, counts) => all + of(counts), 0);
  return {
    requests: sum(({ durations }) => countOf(durations)),
    failures: sum(({ failures }) => total(failures)),
    backend_errors: sum(({ backendErrors }) => backendErrors),
    in_flight: sum(({ inFlight }) => inFlight),
    open_streams: sum(({ openStreams }) => openStreams),
    needed_token: sum(({ cache }) => total(cache) - (cache.bypass ?? 0)),
    served_from_cache: sum(({ cache: { hit = 0, joined = 0 } }) => hit + joined),
  };
}

/** The cause and fix of a failed readiness check. */
function explained(status: string, diagnosis: Diagnosis | undefined): { cause?: string; fix?: string } {
  const fix = diagnosis?.fix ?? fixOf(status);
  return { ...(diagnosis !== undefined && { cause: diagnosis.cause }), ...(fix !== undefined && { fix }) };
}

/** A digest that is short enough to compare by eye. It covers the parsed config, which contains no secrets. */
function versionOf(config: Config): string {
  return createHash('sha256').update(JSON.stringify(config)).digest('hex').slice(0, 8);
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
