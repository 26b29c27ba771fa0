import { drawBars } from './draw-bars.ts';
import { drawPercentiles } from './draw-percentiles.ts';
import { PERCENTILES } from './programs/protocol.ts';
import { type BenchResult, summarize } from './report.ts';
import type { CaseResult } from './run-case.ts';
import { OPEN_RATE, percentileName } from './samples.ts';
import type { Spread } from './statistics.ts';

export interface Chart {
  readonly file: string;
  readonly svg: string;
}

/** The charts of a run: throughput and CPU of the case `call`, and latencies of the case `latency`. */
export function drawCharts({ machine, cases }: BenchResult): Chart[] {
  const where = `Node ${machine.node.replace(/^v/, '')}, ${machine.cpu}, ${machine.date}`;
  const find = (wanted: string): CaseResult | undefined => cases.find(({ name }) => name === wanted);
  const [call, latency] = [find('call'), find('latency')];
  return [
    ...(call === undefined ? [] : callCharts(call, where)),
    ...(latency === undefined ? [] : [latencyChart(latency, where)]),
  ];
}

function callCharts(result: CaseResult, where: string): Chart[] {
  const rows = summarize(result);
  const note = `Medians of ${roundsOf(result)}; lines span the middle half. ${where}`;
  const bars = (figure: string): { label: string; spread: Spread }[] =>
    rows.flatMap(({ label, figures }) => {
      const spread = figures.get(figure);
      return spread === undefined ? [] : [{ label, spread }];
    });
  const charts = [
    {
      file: 'throughput.svg',
      title: 'Cached calls per second, proxy on one core',
      better: 'more is better',
      unit: 'calls per second',
      bars: bars('per second'),
    },
    {
      file: 'cpu.svg',
      title: 'CPU of the proxy for a cached call',
      better: 'less is better',
      unit: 'µs of CPU',
      bars: bars('CPU µs each'),
    },
  ];
  return charts
    .filter((chart) => chart.bars.length > 0)
    .map(({ file, ...chart }) => ({ file, svg: drawBars({ ...chart, note }) }));
}

function latencyChart(result: CaseResult, where: string): Chart {
  const lines = summarize(result).map(({ label, figures }) => ({
    label,
    points: PERCENTILES.flatMap((percent) => {
      const spread = figures.get(percentileName(percent));
      return spread === undefined ? [] : [{ percent, value: spread.median }];
    }),
  }));
  return {
    file: 'latency.svg',
    svg: drawPercentiles({
      title: `Latency of a cached call at ${OPEN_RATE.toLocaleString('en')} calls per second`,
      unit: 'milliseconds, from the scheduled time to the end of the response',
      note: `Medians of ${roundsOf(result)}. ${where}`,
      lines,
    }),
  };
}

function roundsOf({ contestants }: CaseResult): string {
  const count = Math.max(0, ...contestants.map(({ samples }) => samples.length));
  return count === 1 ? '1 round' : `${count} rounds`;
}
