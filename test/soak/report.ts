export interface SoakSample {
  readonly hours: number;
  readonly rssMiB: number;
  readonly heapMiB: number;
  /** Open files and sockets. */
  readonly handles: number;
  readonly connections: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface SoakResult {
  readonly samples: readonly SoakSample[];
  readonly outcomes: ReadonlyMap<string, number>;
  readonly reloads: number;
  /** Anything that is still open after the last caller has left. */
  readonly leftovers: readonly string[];
}

type Figure = Exclude<keyof SoakSample, 'hours'>;

/** The figures, and how much each may rise per hour. A latency depends on the machine, so it has no bound. */
const FIGURES: readonly (readonly [figure: Figure, name: string, bound: number])[] = [
  ['rssMiB', 'resident memory, MiB', 16],
  ['heapMiB', 'heap and buffers, MiB', 8],
  ['handles', 'open files and sockets', 20],
  ['connections', 'connections of callers and backends', 20],
  ['p50Ms', 'cached call, p50 ms', Number.POSITIVE_INFINITY],
  ['p99Ms', 'cached call, p99 ms', Number.POSITIVE_INFINITY],
];

/** A busy machine may delay a call beyond a timeout. */
const MAX_FAILED = 0.01;

/** Caches fill and code is compiled in the first third. */
const WARM_UP = 1 / 3;

/** A shorter run shows only that the soak works: its slopes say nothing about an hour. */
const MIN_HOURS = 10 / 60;

type SoakReport = ReturnType<typeof reportSoak>;

export function reportSoak({ samples, outcomes, leftovers }: SoakResult) {
  const steady = samples.slice(Math.floor(samples.length * WARM_UP));
  const trends = new Map<Figure, Trend>();
  const problems = [...leftovers, ...failedCalls(outcomes)];
  for (const [figure, name, bound] of FIGURES) {
    const trend = trendOf(steady.map((sample) => ({ hours: sample.hours, value: sample[figure] })));
    trends.set(figure, trend);
    if ((samples.at(-1)?.hours ?? 0) >= MIN_HOURS && trend.slope - trend.error > bound) {
      problems.push(`${name}: rises by ${trend.slope.toFixed(1)} an hour, more than ${bound}`);
    }
  }
  return {
    rows: FIGURES.map(([figure, name]) => ({ name, trend: trends.get(figure) as Trend })),
    problems,
  };
}

/** Calls without a response, or with a status of 5xx. */
function failedCalls(outcomes: SoakResult['outcomes']): string[] {
  const sum = (wanted: RegExp): number =>
    [...outcomes].reduce((total, [outcome, count]) => (wanted.test(outcome) ? total + count : total), 0);
  const [failed, all] = [sum(/: (0|5\d\d)$/), sum(/: \d+$/)];
  return failed > all * MAX_FAILED ? [`${failed} of ${all} calls failed`] : [];
}

/** The trends as a Markdown table. */
export function formatRows(rows: SoakReport['rows']): string {
  const number = (value: number): string => String(Number(value.toPrecision(3)));
  return [
    '| figure | mean | slope per hour | 95 % |',
    '| --- | ---: | ---: | ---: |',
    ...rows.map(
      ({ name, trend: { mean, slope, error } }) =>
        `| ${name} | ${number(mean)} | ${slope >= 0 ? '+' : ''}${number(slope)} | ± ${number(error)} |`,
    ),
  ].join('\n');
}

/** A measured value at a time. */
export interface Point {
  readonly hours: number;
  readonly value: number;
}

type Trend = ReturnType<typeof trendOf>;

/** Standard errors on each side of a 95 % interval. */
const CONFIDENCE = 1.96;

/**
 * Fits a line by least squares, with the change per hour as `slope`, and half the width of its 95 % confidence interval as `error`. Neighbouring samples of a process resemble each other, so they count as fewer independent ones.
 * @throws RangeError for fewer than three points
 */
export function trendOf(points: readonly Point[]) {
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

/** The factor by which neighbours that resemble each other (lag-1 autocorrelation) increase the variance of a slope. */
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
