import type { Histogram, Tally } from './counters.ts';

export interface MetricFamily {
  readonly name: string;
  /** The current values in Prometheus' text format, without a line feed at the end. */
  text(): string;
}

interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

type Labels = Readonly<Record<string, string | number>>;

export const counter = familyOf('counter');
export const gauge = familyOf('gauge');

/** @returns creates a metric. A number is its only sample, without labels */
function familyOf(type: 'counter' | 'gauge') {
  return (name: string, help: string, read: () => number | readonly Sample[]): MetricFamily => ({
    name,
    text() {
      const found = read();
      const samples = typeof found === 'number' ? [sample({}, found)] : found;
      const lines = samples.map(({ labels, value }) => line(name, labelText(labels), value));
      return familyText(name, type, help, lines);
    },
  });
}

export function histogram(name: string, help: string, read: () => readonly [Labels, Histogram][]): MetricFamily {
  const lines = () => read().flatMap(([labels, sizes]) => histogramLines(name, labelText(labels), sizes));
  return { name, text: () => familyText(name, 'histogram', help, lines()) };
}

export function sample(labels: Labels, value: number): Sample {
  return { labels, value };
}

export function samplesOf<Name extends string>(tally: Tally<Name>, labelsOf: (name: string) => Labels): Sample[] {
  return Object.entries<number>(tally as Record<Name, number>).map(([name, times]) => sample(labelsOf(name), times));
}

/** @see https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format */
function familyText(name: string, type: string, help: string, lines: readonly string[]): string {
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines].join('\n');
}

function line(name: string, labels: string, value: number): string {
  return labels === '' ? `${name} ${value}` : `${name}{${labels}} ${value}`;
}

function labelText(labels: Labels): string {
  let text = '';
  for (const name in labels) text += `${text === '' ? '' : ','}${name}="${escaped(labels[name])}"`;
  return text;
}

function escaped(value: string | number | undefined): string {
  const text = String(value);
  return /["\\\n]/.test(text) ? text.replace(/["\\]/g, '\\$&').replaceAll('\n', '\\n') : text;
}

function histogramLines(name: string, labels: string, { bounds, buckets, sum }: Histogram): string[] {
  const more = labels === '' ? '' : `,${labels}`;
  let count = 0;
  const lines = buckets.map((bucket, i) => {
    count += bucket;
    return `${name}_bucket{le="${bounds[i] ?? '+Inf'}"${more}} ${count}`;
  });
  lines.push(line(`${name}_sum`, labels, sum), line(`${name}_count`, labels, count));
  return lines;
}
