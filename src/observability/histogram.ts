/** How often each size was observed, and all sizes in all. */
export interface Histogram {
  /** The upper bounds of the buckets, in the unit of what is observed. */
  readonly bounds: readonly number[];
  /** What was observed between the bound before and this one, itself included; the last is above all bounds. */
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

/** How many sizes were observed. */
export function countOf({ buckets }: Histogram): number {
  return buckets.reduce((count, bucket) => count + bucket, 0);
}
