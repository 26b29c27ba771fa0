import { createHistogram, type Histogram, quantileOf } from './counters.ts';
import type { Counts } from './counts.ts';
import {
  answered,
  classify,
  noResponses,
  RESPONSE_CLASSES,
  type ResponseClass,
  type ResponseClasses,
} from './response-classes.ts';
import { createRouteCounts, neededToken, type RouteCounts, servedFromCache } from './route-counts.ts';

export const SAMPLE_MS = 15_000;
/** Intervals of the last quarter of an hour, without the current one. */
const INTERVALS = 60;

/** The traffic of the last quarter of an hour, up to now. */
export interface Recent {
  readonly responses: ResponseClasses;
  /** The responses of the last 15 seconds that had any, or of up to a minute if there were few. */
  readonly latest: ResponseClasses;
  /** Seconds until the response headers. Its `sum` is 0. */
  readonly durations: Histogram;
  /** Requests that needed a token, and those of them without an exchange. */
  readonly neededToken: number;
  readonly servedFromCache: number;
}

/**
 * Samples the counts of routes, so that the status page can show the last quarter of an hour. Requests cost nothing for it. A
 * route without requests has no history. Another one takes 6 KiB.
 */
export type RecentTraffic = ReturnType<typeof createRecentTraffic>;

/** Numbers of an interval: responses by class, use of the cache, and durations by bucket. */
const NEEDED_AT = RESPONSE_CLASSES.length;
const SERVED_AT = NEEDED_AT + 1;
const BUCKETS_AT = SERVED_AT + 1;
const { bounds: BOUNDS, buckets: NO_BUCKETS } = createRouteCounts('').durations;
const WIDTH = BUCKETS_AT + NO_BUCKETS.length;

/** @param wallMs epoch milliseconds */
export function createRecentTraffic(counts: Pick<Counts, 'route' | 'routes'>, wallMs: () => number) {
  /** The numbers of each route, as they were at each end of an interval. The latest is at the end. */
  const histories = new Map<string, Uint32Array>();
  /** The sums of intervals, up to the current one. */
  const window = new Float64Array((INTERVALS + 1) * WIDTH);
  let served: ReadonlySet<string> = new Set();
  let sampledMs = wallMs();

  /** A machine that slept, or a busy process, skips samples. */
  function elapsedIntervals(): number {
    const nowMs = wallMs();
    const elapsed = Math.round((nowMs - sampledMs) / SAMPLE_MS);
    sampledMs = nowMs;
    return Math.min(INTERVALS, Math.max(1, elapsed));
  }

  function begin(name: string): Uint32Array {
    const history = new Uint32Array(window.length);
    histories.set(name, history);
    return history;
  }

  return {
    sample(): void {
      const elapsed = elapsedIntervals();
      for (const route of counts.routes()) {
        const { route: name } = route;
        if (!histories.has(name) && !(served.has(name) && hasResponses(route))) continue;
        const history = histories.get(name) ?? begin(name);
        history.copyWithin(0, elapsed * WIDTH);
        repeat(history, numbersOf(route), elapsed);
      }
    },
    /** Forgets the history of all other routes. A route that returns starts without one. */
    serve(routes: readonly string[]): void {
      served = new Set(routes);
      for (const name of histories.keys()) if (!served.has(name)) histories.delete(name);
      for (const name of routes) {
        const route = counts.route(name);
        if (!histories.has(name) && hasResponses(route)) repeat(begin(name), numbersOf(route), INTERVALS + 1);
      }
    },
    /** @param names of routes, which are added up */
    of(names: readonly string[]): Recent {
      if (!fillWindow(names)) return NOTHING;
      const sums = new Float64Array(WIDTH);
      for (let i = 0; i < window.length; i += 1) add(sums, i % WIDTH, window[i]);
      return {
        responses: classesAt(sums, 0),
        latest: latestOf(window),
        durations: { bounds: BOUNDS, buckets: [...sums.subarray(BUCKETS_AT)], sum: 0 },
        neededToken: sums[NEEDED_AT] ?? 0,
        servedFromCache: sums[SERVED_AT] ?? 0,
      };
    },
    /** Responses of each interval, the oldest first. The last interval is the current one. */
    intervals(names: readonly string[]): ResponseClasses[] {
      fillWindow(names);
      return Array.from({ length: INTERVALS + 1 }, (_, at) => classesAt(window, at));
    },
    /** A quantile of the durations in each interval, in seconds. Undefined in an interval without responses. */
    quantiles(names: readonly string[], rank: number): (number | undefined)[] {
      fillWindow(names);
      return Array.from({ length: INTERVALS + 1 }, (_, at) => {
        const buckets = [...window.subarray(at * WIDTH + BUCKETS_AT, (at + 1) * WIDTH)];
        return quantileOf({ bounds: BOUNDS, buckets, sum: 0 }, rank);
      });
    },
  };

  /** Adds up the numbers of all intervals in `window`. @returns false without any numbers */
  function fillWindow(names: readonly string[]): boolean {
    window.fill(0);
    let isFilled = false;
    for (const name of names) {
      const route = counts.route(name);
      const history = histories.get(name);
      if (history === undefined && !hasResponses(route)) continue;
      isFilled = true;
      const now = numbersOf(route);
      for (let i = 0; i < window.length; i += 1) {
        const end = history?.[i + WIDTH] ?? now[i + WIDTH - window.length] ?? 0;
        // The difference is also right where the numbers outgrow 32 bits.
        add(window, i, (end - (history?.[i] ?? 0)) >>> 0);
      }
    }
    return isFilled;
  }
}

/** Writes the same numbers to the last places of a history. */
function repeat(history: Uint32Array, numbers: readonly number[], times: number): void {
  for (let at = 1; at <= times; at += 1) history.set(numbers, history.length - at * WIDTH);
}

function add(sums: Float64Array, at: number, number = 0): void {
  sums[at] = (sums[at] ?? 0) + number;
}

const NOTHING: Recent = {
  responses: noResponses(),
  latest: noResponses(),
  durations: createHistogram(BOUNDS),
  neededToken: 0,
  servedFromCache: 0,
};

function classesAt(numbers: Float64Array, interval: number): Record<ResponseClass, number> {
  const classes = noResponses();
  for (const [i, name] of RESPONSE_CLASSES.entries()) classes[name] = numbers[interval * WIDTH + i] ?? 0;
  return classes;
}

/** Intervals of a minute. */
const MINUTE = 4;
/** So many responses are enough, so that a recovery shows soon. */
const ENOUGH = 5;

function latestOf(window: Float64Array): ResponseClasses {
  const sum = noResponses();
  let oldest = 0;
  for (let at = INTERVALS; at >= oldest && answered(sum) < ENOUGH; at -= 1) {
    const classes = classesAt(window, at);
    if (answered(sum) === 0 && answered(classes) > 0) oldest = at - MINUTE + 1;
    for (const name of RESPONSE_CLASSES) sum[name] += classes[name];
  }
  return sum;
}

function hasResponses({ responses }: RouteCounts): boolean {
  return responses.some(({ count }) => count > 0);
}

function numbersOf(route: RouteCounts): number[] {
  const classes = classify(route);
  return [
    ...RESPONSE_CLASSES.map((name) => classes[name]),
    neededToken(route),
    servedFromCache(route),
    ...route.durations.buckets,
  ];
}
