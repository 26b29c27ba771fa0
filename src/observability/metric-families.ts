import type { Histogram } from './histogram.ts';
import type { Tally } from './tally.ts';

/** A metric with all its series, as a registry asks for it at each scrape. */
export interface MetricFamily {
  readonly name: string;
  get(): { readonly name: string; readonly type: string; readonly help: string; readonly values: readonly Sample[] };
}

/** A line of the text, in prom-client's terms. */
interface Sample {
  /** Undefined: the family's. */
  readonly metricName?: string;
  readonly labels: Labels;
  /** These come after the others, and are written once where they are the same object. */
  readonly sharedLabels: Labels;
  readonly value: number;
}

type Labels = Readonly<Record<string, string | number>>;

export function counter(name: string, help: string, read: () => readonly Sample[]): MetricFamily {
  return { name, get: () => ({ name, type: 'counter', help, values: read() }) };
}

export function gauge(name: string, help: string, read: () => readonly Sample[]): MetricFamily {
  return { name, get: () => ({ name, type: 'gauge', help, values: read() }) };
}

export function histogram(name: string, help: string, read: () => readonly [Labels, Histogram][]): MetricFamily {
  const values = () => read().flatMap(([labels, sizes]) => histogramSamples(name, labels, sizes));
  return { name, get: () => ({ name, type: 'histogram', help, values: values() }) };
}

/** Without this object prom-client would remember a new one for each sample. */
const NONE: Labels = {};

export function sample(labels: Labels, value: number): Sample {
  return { labels, sharedLabels: NONE, value };
}

export function samplesOf<Name extends string>(tally: Tally<Name>, labelsOf: (name: string) => Labels): Sample[] {
  return Object.entries<number>(tally as Record<Name, number>).map(([name, times]) => sample(labelsOf(name), times));
}

function histogramSamples(name: string, sharedLabels: Labels, { bounds, buckets, sum }: Histogram): Sample[] {
  let count = 0;
  const cumulative = buckets.map((bucket, i) => {
    count += bucket;
    return { metricName: `${name}_bucket`, labels: { le: bounds[i] ?? '+Inf' }, sharedLabels, value: count };
  });
  return [
    ...cumulative,
    { metricName: `${name}_sum`, labels: NONE, sharedLabels, value: sum },
    { metricName: `${name}_count`, labels: NONE, sharedLabels, value: count },
  ];
}
