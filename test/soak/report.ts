import type { SoakResult, SoakSample } from './run-soak.ts';
import { type Trend, trendOf } from './trend.ts';

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

export interface SoakReport {
  readonly rows: readonly { readonly name: string; readonly trend: Trend }[];
  readonly problems: readonly string[];
}

export function reportSoak({ samples, outcomes, leftovers }: SoakResult): SoakReport {
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
