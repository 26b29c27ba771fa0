import { createHistogram, type Histogram, quantileOf } from './counters.ts';
import type { Counts } from './counts.ts';
import { classify, noResponses, RESPONSE_CLASSES, type ResponseClasses } from './response-classes.ts';
import { createRouteCounts, neededToken, type RouteCounts, servedFromCache } from './route-counts.ts';

/** Interval between samples. */
export const SAMPLE_MS = 15_000;
/** Intervals of the last quarter of an hour, without the current one. */
const INTERVALS = 60;

/** The traffic of the last quarter of an hour, up to now. */
export interface Recent {
  readonly responses: ResponseClasses;
  /** Seconds until the response headers. Its `sum` is 0. */
  readonly durations: Histogram;
  /** Requests that needed a token, and those of them without an exchange. */
  readonly neededToken: number;
  readonly servedFromCache: number;
  /** Responses of each interval, the oldest first. The last interval is the current one. */
  readonly intervals: readonly ResponseClasses[];
}

/**
 * Samples the counts of routes, so that the status page can show the last quarter of an hour. Requests cost nothing for it. A
 * route without requests has no history. Another one takes 6 KiB.
 */
export interface RecentTraffic {
  /** Ends the current interval. */
  sample(): void;
  /** Forgets the history of all other routes. A route that returns starts without one. */
  serve(routes: readonly string[]): void;
  /** @param routes names; several are added up */
  of(routes: readonly string[]): Recent;
  /** A quantile of the durations in each interval, in seconds. Undefined in an interval without responses. */
  quantiles(routes: readonly string[], rank: number): (number | undefined)[];
}

/** Numbers of an interval: responses by class, use of the cache, and durations by bucket. */
const NEEDED_AT = RESPONSE_CLASSES.length;
const SERVED_AT = NEEDED_AT + 1;
const BUCKETS_AT = SERVED_AT + 1;
const { bounds: BOUNDS, buckets: NO_BUCKETS } = createRouteCounts('').durations;
const WIDTH = BUCKETS_AT + NO_BUCKETS.length;

interface History {
  /** A ring of intervals, `WIDTH` numbers each. */
  readonly ring: Uint32Array;
  /** The counts at the last sample. */
  readonly last: Float64Array;
}

/** @param wallMs epoch milliseconds */
export function createRecentTraffic(counts: Pick<Counts, 'route' | 'routes'>, wallMs: () => number): RecentTraffic {
  const histories = new Map<string, History>();
  const current = new Float64Array(WIDTH);
  /** The interval that the next sample ends, as its place in the ring. */
  let at = 0;
  let served: ReadonlySet<string> = new Set();
  let sampledMs = wallMs();

  /** A machine that slept, or a busy process, skips samples. */
  function elapsedIntervals(): number {
    const nowMs = wallMs();
    const elapsed = Math.round((nowMs - sampledMs) / SAMPLE_MS);
    sampledMs = nowMs;
    return Math.min(INTERVALS, Math.max(1, elapsed));
  }

  function sampleRoute(route: RouteCounts, skipped: readonly number[]): void {
    const { ring, last } = histories.get(route.route) ?? begin(route.route);
    read(route, current);
    for (const interval of skipped) ring.fill(0, interval * WIDTH, (interval + 1) * WIDTH);
    for (let i = 0; i < WIDTH; i += 1) ring[at * WIDTH + i] = (current[i] ?? 0) - (last[i] ?? 0);
    last.set(current);
  }

  function begin(name: string): History {
    const history = { ring: new Uint32Array(INTERVALS * WIDTH), last: new Float64Array(WIDTH) };
    histories.set(name, history);
    return history;
  }

  return {
    sample() {
      const elapsed = elapsedIntervals();
      const skipped = Array.from({ length: elapsed - 1 }, (_, i) => (at + 1 + i) % INTERVALS);
      for (const route of counts.routes()) {
        if (histories.has(route.route) || (served.has(route.route) && hasResponses(route))) sampleRoute(route, skipped);
      }
      at = (at + elapsed) % INTERVALS;
    },
    serve(routes) {
      served = new Set(routes);
      for (const name of histories.keys()) if (!served.has(name)) histories.delete(name);
      for (const name of routes) {
        const route = counts.route(name);
        if (!histories.has(name) && hasResponses(route)) read(route, begin(name).last);
      }
    },
    of(names) {
      const active = names.filter((name) => histories.has(name) || hasResponses(counts.route(name)));
      if (active.length === 0) return NOTHING;
      const intervals = Array.from({ length: INTERVALS + 1 }, noResponses);
      const durations = createHistogram(BOUNDS);
      let neededToken = 0;
      let servedFromCache = 0;
      eachInterval(active, (numbers, interval) => {
        const classes = intervals[interval];
        for (const [i, name] of RESPONSE_CLASSES.entries()) if (classes !== undefined) classes[name] += numbers[i] ?? 0;
        neededToken += numbers[NEEDED_AT] ?? 0;
        servedFromCache += numbers[SERVED_AT] ?? 0;
        addBuckets(durations, numbers);
      });
      return { responses: sumOf(intervals), durations, neededToken, servedFromCache, intervals };
    },
    quantiles(names, rank) {
      const intervals = Array.from({ length: INTERVALS + 1 }, () => createHistogram(BOUNDS));
      eachInterval(names, (numbers, interval) => addBuckets(intervals[interval], numbers));
      return intervals.map((durations) => quantileOf(durations, rank));
    },
  };

  /** Visits the numbers of each interval, the oldest first. */
  function eachInterval(names: readonly string[], visit: (numbers: NumberList, interval: number) => void): void {
    for (const name of names) {
      const history = histories.get(name);
      for (let i = 0; history !== undefined && i < INTERVALS; i += 1) {
        const from = ((at + i) % INTERVALS) * WIDTH;
        visit(history.ring.subarray(from, from + WIDTH), i);
      }
      read(counts.route(name), current);
      // Without a history, everything of a route is from the current interval.
      for (let i = 0; history !== undefined && i < WIDTH; i += 1)
        current[i] = (current[i] ?? 0) - (history.last[i] ?? 0);
      visit(current, INTERVALS);
    }
  }
}

type NumberList = Uint32Array | Float64Array;

const NOTHING: Recent = {
  responses: noResponses(),
  durations: createHistogram(BOUNDS),
  neededToken: 0,
  servedFromCache: 0,
  intervals: Array.from({ length: INTERVALS + 1 }, noResponses),
};

function hasResponses({ responses }: RouteCounts): boolean {
  return responses.some(({ count }) => count > 0);
}

function read(route: RouteCounts, numbers: Float64Array): void {
  const classes = classify(route);
  for (const [i, name] of RESPONSE_CLASSES.entries()) numbers[i] = classes[name];
  numbers[NEEDED_AT] = neededToken(route);
  numbers[SERVED_AT] = servedFromCache(route);
  numbers.set(route.durations.buckets, BUCKETS_AT);
}

function addBuckets(durations: Histogram | undefined, numbers: NumberList): void {
  for (let i = 0; durations !== undefined && i < NO_BUCKETS.length; i += 1) {
    durations.buckets[i] = (durations.buckets[i] ?? 0) + (numbers[BUCKETS_AT + i] ?? 0);
  }
}

function sumOf(intervals: readonly ResponseClasses[]): ResponseClasses {
  const sum = noResponses();
  for (const interval of intervals) for (const name of RESPONSE_CLASSES) sum[name] += interval[name];
  return sum;
}
