/** A measured value at a time. */
export interface Point {
  readonly hours: number;
  readonly value: number;
}

export interface Trend {
  readonly mean: number;
  /** Change per hour, by least squares. */
  readonly slope: number;
  /** Half the width of the 95 % confidence interval of the slope. */
  readonly error: number;
  /** The value of the line at the time 0. */
  readonly intercept: number;
}

/** Standard errors on each side of a 95 % interval. */
const CONFIDENCE = 1.96;

/**
 * Fits a line. Neighbouring samples of a process resemble each other, so they count as fewer independent ones.
 * @throws RangeError for fewer than three points
 */
export function trendOf(points: readonly Point[]): Trend {
  const count = points.length;
  if (count < 3) throw new RangeError('a trend needs three points');
  const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / count;
  const meanHours = meanOf(points.map(({ hours }) => hours));
  const mean = meanOf(points.map(({ value }) => value));
  let [spread, product] = [0, 0];
  for (const { hours, value } of points) {
    spread += (hours - meanHours) ** 2;
    product += (hours - meanHours) * (value - mean);
  }
  const slope = product / spread;
  const intercept = mean - slope * meanHours;
  const rest = points.map(({ hours, value }) => value - intercept - slope * hours);
  const squares = rest.reduce((sum, value) => sum + value ** 2, 0);
  const variance = squares / (count - 2) / spread;
  const error = CONFIDENCE * Math.sqrt(variance * inflation(rest, squares));
  return { mean, slope, error, intercept };
}

/** How much neighbours that resemble each other (lag-1 autocorrelation) increase the variance of a slope. */
function inflation(rest: readonly number[], squares: number): number {
  if (squares === 0) return 1;
  let product = 0;
  for (let i = 1; i < rest.length; i += 1) product += (rest[i] as number) * (rest[i - 1] as number);
  const correlation = Math.min(Math.max(product / squares, 0), 0.99);
  return (1 + correlation) / (1 - correlation);
}

/** The value below which this share of the values lies. 0 without values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? 0;
}
