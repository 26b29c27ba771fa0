/** A count by name. A missing name never occurred and is not expected to. */
export type Tally<Name extends string> = Partial<Record<Name, number>>;

export function add<Name extends string>(tally: Tally<Name>, name: Name, times = 1): void {
  tally[name] = (tally[name] ?? 0) + times;
}

/** Adds missing names with the count 0. @returns the tally */
export function expect<Name extends string>(tally: Tally<Name>, names: readonly Name[]): Tally<Name> {
  for (const name of names) add(tally, name, 0);
  return tally;
}

export function total<Name extends string>(tally: Tally<Name>): number {
  return Object.values<number>(tally as Record<Name, number>).reduce((sum, times) => sum + times, 0);
}

export interface Histogram {
  /** Upper bounds of the buckets, in the unit of the sizes. */
  readonly bounds: readonly number[];
  /** Number of sizes above the previous bound and up to this one. The last bucket is above all bounds. */
  readonly buckets: number[];
  sum: number;
}

export function createHistogram(bounds: readonly number[]): Histogram {
  return { bounds, buckets: [...bounds, Number.POSITIVE_INFINITY].map(() => 0), sum: 0 };
}

export function observe(histogram: Histogram, size: number): void {
  const { bounds, buckets } = histogram;
  let at = 0;
  for (const bound of bounds) {
    if (size <= bound) break;
    at += 1;
  }
  buckets[at] = (buckets[at] ?? 0) + 1;
  histogram.sum += size;
}

export function countOf({ buckets }: Histogram): number {
  return buckets.reduce((count, bucket) => count + bucket, 0);
}

/**
 * Estimates a quantile, as Prometheus' `histogram_quantile` does: evenly spread sizes within a bucket. Above all bounds, it is the
 * last bound.
 * @param rank from 0 to 1
 * @returns undefined before the first size
 */
export function quantileOf(histogram: Histogram, rank: number): number | undefined {
  const { bounds, buckets } = histogram;
  const count = countOf(histogram);
  if (count === 0) return undefined;
  let below = 0;
  for (const [at, bucket] of buckets.entries()) {
    const bound = bounds[at];
    if (bound === undefined) break;
    if (bucket > 0 && below + bucket >= rank * count) {
      const previous = bounds[at - 1] ?? 0;
      return previous + (bound - previous) * ((rank * count - below) / bucket);
    }
    below += bucket;
  }
  return bounds.at(-1);
}

/** The value of a key, created if it is missing. */
export function entry<Value>(map: Map<string, Value>, key: string, create: (key: string) => Value): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = create(key);
    map.set(key, value);
  }
  return value;
}
