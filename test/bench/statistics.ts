import { createRandom } from '../harness/random.ts';

/** A figure of several rounds. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** A median, and the interval that contains the true one with 95 % confidence. */
export interface Interval {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** @throws RangeError for an empty list */
export function spreadOf(values: readonly number[]): Spread {
  if (values.length === 0) throw new RangeError('cannot take the median of an empty list');
  const sorted = [...values].sort((a, b) => a - b);
  return {
    median: quantile(sorted, 0.5),
    min: sorted[0] as number,
    max: sorted.at(-1) as number,
  };
}

/** Between two values, in proportion. */
function quantile(sorted: ArrayLike<number>, share: number): number {
  const at = share * (sorted.length - 1);
  const lower = sorted[Math.floor(at)] as number;
  return lower + (at - Math.floor(at)) * ((sorted[Math.ceil(at)] as number) - lower);
}

const RESAMPLES = 2000;
/** The same samples give the same interval. */
const SEED = 1;

/**
 * The interval of a median, by bootstrap: medians of values drawn from the list again and again.
 * @throws RangeError for an empty list
 */
export function medianInterval(values: readonly number[]): Interval {
  if (values.length === 0) throw new RangeError('cannot take the median of an empty list');
  const random = createRandom(SEED);
  const pick = (): number => values[random.int(values.length)] as number;
  const draw = (): number => quantile(Float64Array.from(values, pick).sort(), 0.5);
  const medians = Float64Array.from({ length: RESAMPLES }, draw).sort();
  return { median: spreadOf(values).median, low: quantile(medians, 0.025), high: quantile(medians, 0.975) };
}

/**
 * Ratios of two contestants, round by round. If the machine is slow in a round, both are slow.
 * @throws RangeError for different numbers of rounds
 */
export function pairedRatios(ours: readonly number[], theirs: readonly number[]): number[] {
  if (ours.length !== theirs.length) throw new RangeError('the numbers of rounds differ');
  return ours.map((value, round) => value / (theirs[round] as number));
}

/** Rotates the order, so that each round begins with another contestant. */
export function rotated<T>(items: readonly T[], round: number): T[] {
  const first = items.length === 0 ? 0 : round % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}
