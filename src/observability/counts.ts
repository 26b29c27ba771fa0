import type { Config, Route } from '../config/config.ts';
import { expiringCredentials } from '../config/expiring-credentials.ts';
import { usedServerNames } from '../config/used-servers.ts';
import { ERROR_CODES } from '../errors.ts';
import { EXCHANGE_ENDS, EXPECTED_ANSWERS, PLAIN_ERRORS, UNMATCHED, UNMATCHED_ERRORS } from './expected.ts';
import { createHistogram, type Histogram, observe } from './histogram.ts';
import type { Outcome, ProxyObserver } from './proxy-observer.ts';
import { createRecentFailures, type RecentFailures } from './recent-failures.ts';
import { type AnswerCount, codeLabel, createRouteCounts, methodLabel, type RouteCounts } from './route-counts.ts';
import { add, expect, type Tally } from './tally.ts';
import { EVICTION_REASONS, type EvictionReason, type TokenObserver } from './token-observer.ts';

/**
 * All that cambist counts, once: plain numbers, to which a request adds as it passes, and which the metrics and the status
 * page read when they are asked for. Counts of routes and servers that are gone stay, since a counter never goes back; what
 * is known of servers and credentials that are gone does not.
 */
export interface Counts {
  readonly proxy: ProxyObserver;
  readonly tokens: TokenObserver;
  route(name: string): Readonly<RouteCounts>;
  /** All so far, `UNMATCHED` among them. */
  routes(): readonly Readonly<RouteCounts>[];
  /** Those of all routes, in the order in which they first came. */
  readonly answers: readonly Readonly<AnswerCount>[];
  /** Seconds that token requests took, by authorization server. */
  readonly exchangeDurations: ReadonlyMap<string, Histogram>;
  readonly evictions: Tally<EvictionReason>;
  /** By authority. */
  readonly tunnels: ReadonlyMap<string, Readonly<TunnelCounts>>;
  readonly recentFailures: RecentFailures;
  /** Does the authorization server answer? */
  readonly available: ReadonlyMap<string, boolean>;
  /** When credentials of ours end, in epoch seconds. */
  readonly credentials: ReadonlyMap<string, number>;
  readonly reloads: Readonly<Reloads>;
  /** Makes all that may come under a config present, at 0. */
  serve(config: Config): void;
  reloaded(result: ReloadResult): void;
}

export interface TunnelCounts {
  opened: number;
  open: number;
}

export interface Reloads {
  readonly results: Tally<ReloadResult>;
  /** Epoch milliseconds; of the config that is served. */
  loadedAtMs: number;
  /** Undefined before the first. */
  last: { readonly atMs: number; readonly result: ReloadResult } | undefined;
}

export type ReloadResult = 'success' | 'failure';

const EXCHANGE_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** @param nowMs epoch milliseconds */
export function createCounts(nowMs: () => number): Counts {
  const routes = new Map<string, RouteCounts>();
  const answers: AnswerCount[] = [];
  const exchangeDurations = new Map<string, Histogram>();
  const evictions = expect({}, EVICTION_REASONS);
  const tunnels = new Map<string, TunnelCounts>();
  const recentFailures = createRecentFailures(nowMs);
  const available = new Map<string, boolean>();
  const credentials = new Map<string, number>();
  /** Of the config that is served. */
  let namedCredentials: ReadonlySet<string> = new Set();
  const reloads: Reloads = { results: expect({}, ['success', 'failure']), loadedAtMs: nowMs(), last: undefined };

  const route = (name: string): RouteCounts => entry(routes, name, createRouteCounts);
  const exchangesOf = (counts: RouteCounts, server: string) => entry(counts.exchanges, server, () => ({}));
  const durationsOf = (server: string): Histogram =>
    entry(exchangeDurations, server, () => createHistogram(EXCHANGE_BOUNDS));
  const tunnel = (authority: string): TunnelCounts => entry(tunnels, authority, () => ({ opened: 0, open: 0 }));

  /** Looked for one by one: what comes most is among the first. */
  function answersOf(counts: RouteCounts, method: string, code: AnswerCount['code'], outcome: Outcome): AnswerCount {
    for (const kind of counts.answers) {
      if (kind.code === code && kind.method === method && kind.outcome === outcome) return kind;
    }
    const kind = { route: counts.route, method, code, outcome, count: 0 };
    counts.answers.push(kind);
    answers.push(kind);
    return kind;
  }

  function expectRoute({ name, credential, http2 }: Route): void {
    const counts = route(name);
    if (http2) expect(counts.retries, ['unprocessed']);
    for (const [code, outcome] of EXPECTED_ANSWERS) answersOf(counts, 'POST', code, outcome);
    const asked = usedServerNames(credential);
    expect(counts.failures, asked.length === 0 ? PLAIN_ERRORS : ERROR_CODES);
    for (const server of asked) {
      expect(exchangesOf(counts, server), EXCHANGE_ENDS);
      durationsOf(server);
    }
  }

  return {
    routes: () => [...routes.values()],
    route,
    answers,
    exchangeDurations,
    evictions,
    tunnels,
    recentFailures,
    available,
    credentials,
    reloads,
    serve(config) {
      for (const served of config.routes) expectRoute(served);
      const unmatched = route(UNMATCHED);
      answersOf(unmatched, 'POST', 403, 'refused');
      expect(unmatched.failures, UNMATCHED_ERRORS);
      for (const authority of config.forwardProxy.connect) tunnel(authority);
      const asked = new Set(config.routes.flatMap(({ credential }) => usedServerNames(credential)));
      for (const name of available.keys()) if (!asked.has(name)) available.delete(name);
      for (const name of asked) entry(available, name, () => true);
      // What is still named is read anew, and says again when it ends.
      credentials.clear();
      namedCredentials = new Set(expiringCredentials(config).map(({ name }) => name));
      reloads.loadedAtMs = nowMs();
    },
    reloaded(result) {
      add(reloads.results, result);
      reloads.last = { atMs: nowMs(), result };
    },
    proxy: {
      requestRouted({ name }) {
        route(name).inFlight += 1;
      },
      requestAnswered(routed, { method, status, outcome, error, durationMs }) {
        const counts = route(routed?.name ?? UNMATCHED);
        answersOf(counts, methodLabel(method), codeLabel(status), outcome).count += 1;
        observe(counts.durations, durationMs / 1000);
        if (outcome === 'forwarded' && status >= 500) counts.backendErrors += 1;
        if (error === undefined) return;
        add(counts.failures, error);
        recentFailures.note(routed?.name, error);
      },
      requestEnded({ name }) {
        route(name).inFlight -= 1;
      },
      requestAborted: ({ name }, by) => add(route(name).aborted, by),
      streamOpened({ name }) {
        route(name).openStreams += 1;
      },
      streamClosed({ name }) {
        route(name).openStreams -= 1;
      },
      upstreamRetried: ({ name }, reason) => add(route(name).retries, reason),
      tunnelOpened(authority) {
        tunnel(authority).opened += 1;
        tunnel(authority).open += 1;
      },
      tunnelClosed(authority) {
        tunnel(authority).open -= 1;
      },
    },
    tokens: {
      cacheAnswered: (name, result) => add(route(name).cache, result),
      exchangeEnded({ route: name, authorizationServer, error, durationMs }) {
        add(exchangesOf(route(name), authorizationServer), error?.code ?? '');
        observe(durationsOf(authorizationServer), durationMs / 1000);
      },
      tokenEvicted: (reason) => add(evictions, reason),
      availabilityChanged: (server, isUp) => available.set(server, isUp),
      credentialRead(credential, endsAtSeconds) {
        // A request that began before a reload may read what is named no more.
        if (namedCredentials.has(credential)) credentials.set(credential, endsAtSeconds);
      },
    },
  };
}

/** What a map has under a key; made where there is none yet. */
function entry<Value>(map: Map<string, Value>, key: string, make: (key: string) => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make(key);
    map.set(key, value);
  }
  return value;
}
