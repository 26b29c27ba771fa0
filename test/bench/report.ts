import type { Machine } from './processes.ts';
import type { CaseResult } from './run-case.ts';
import { type Interval, medianInterval, pairedRatios, type Spread, spreadOf } from './statistics.ts';

/** The result of a run. */
export interface BenchResult {
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly cases: readonly CaseResult[];
}

/** Figures that are compared with those of the first contestant. */
const COMPARED = new Set(['per second', 'CPU µs each', 'p50 ms', 'p99 ms', 'ready ms', 'CPU ms until ready']);
/** Above this, the load process limits the throughput, not the proxy. */
const LOAD_BUSY_PERCENT = 95;

type Row = ReturnType<typeof summarize>[number];

/** The rows of a case's table: medians of the rounds, and ratios paired by round, of the first contestant's figure and this one's. */
export function summarize({ contestants }: CaseResult) {
  const names = [...new Set(contestants.flatMap(({ samples }) => samples.flatMap((sample) => Object.keys(sample))))];
  return contestants.map(({ label, samples }, n) => {
    const figures = new Map<string, Spread>();
    const ratios = new Map<string, Interval>();
    for (const name of names) {
      const values = samples.map((sample) => sample[name]).filter((value) => value !== undefined);
      if (values.length === 0 || values.length < samples.length) continue;
      figures.set(name, spreadOf(values));
      const first = (contestants[0]?.samples ?? []).map((sample) => sample[name] ?? Number.NaN);
      if (n > 0 && COMPARED.has(name)) ratios.set(name, medianInterval(pairedRatios(first, values)));
    }
    return { label, figures, ratios };
  });
}

/** Markdown tables, which are readable in a terminal and in a README. */
export function formatResult({ machine, versions, cases }: BenchResult): string {
  const { date, node, os, cpu, cores, memoryGib, pinned } = machine;
  const others = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const placement = pinned
    ? 'the proxy on one core, callers and upstream on another'
    : 'not pinned: taskset or a second core is missing';
  const title = `${date} · Node ${node} · ${os} · ${cpu}, ${cores} cores, ${memoryGib} GiB · ${placement} · ${others.join(' · ')}`;
  return [title, ...cases.map(formatCase)].join('\n\n');
}

function formatCase(result: CaseResult): string {
  const rows = summarize(result);
  const shown = [...new Set(rows.flatMap(({ figures }) => [...figures.keys()]))].filter((name) =>
    rows.some(({ figures }) => figures.get(name)?.max !== 0),
  );
  const first = rows[0]?.label ?? '';
  const lines = rows.map((row) => [row.label, ...shown.flatMap((name) => cells(row, name))]);
  const titles = [result.name, ...shown.flatMap((name) => (COMPARED.has(name) ? [name, `${first} ÷ this`] : [name]))];
  const notes = result.missing.map(({ label, why }) => `${label}: ${why}`);
  if (rows.some((row) => (row.figures.get('load CPU %')?.median ?? 0) >= LOAD_BUSY_PERCENT)) {
    notes.push(
      `if the load CPU is at ${LOAD_BUSY_PERCENT} % or more, the load process limits the throughput: compare the CPU instead`,
    );
  }
  const count = Math.max(...result.contestants.map(({ samples }) => samples.length));
  const caption = `**${result.name}**: ${result.about}. Medians of ${count} ${count === 1 ? 'round' : 'rounds'}, with minimum and maximum; ratios with their 95 % intervals.`;
  return [caption, formatTable(titles, lines), ...notes].join('\n\n');
}

function cells({ figures, ratios }: Row, name: string): string[] {
  const figure = figures.get(name);
  const text = figure === undefined ? '' : `${short(figure.median)} (${short(figure.min)}–${short(figure.max)})`;
  if (!COMPARED.has(name)) return [figure === undefined ? '' : short(figure.median)];
  const ratio = ratios.get(name);
  return [
    text,
    ratio === undefined ? '' : `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)}–${ratio.high.toFixed(2)})`,
  ];
}

/** Three digits, because more would be noise. */
function short(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en');
  return String(Number(value.toPrecision(3)));
}

function formatTable(titles: readonly string[], lines: readonly (readonly string[])[]): string {
  const widths = titles.map((title, i) => Math.max(title.length, ...lines.map((line) => line[i]?.length ?? 0)));
  const row = (fields: readonly string[]): string =>
    `| ${widths.map((width, i) => (i === 0 ? (fields[i] ?? '').padEnd(width) : (fields[i] ?? '').padStart(width))).join(' | ')} |`;
  const rule = `| ${widths.map((width, i) => (i === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [row(titles), rule, ...lines.map(row)].join('\n');
}
