/** For each label of a metric, the values in its samples. */
export type LabelValues = ReadonlyMap<string, ReadonlySet<string>>;

/** The metrics in the text of /metrics, by the name in their `# TYPE` line. */
export function liveMetrics(text: string): ReadonlyMap<string, LabelValues> {
  const metrics = new Map<string, Map<string, Set<string>>>();
  let current = new Map<string, Set<string>>();
  for (const line of text.split('\n')) {
    const name = /^# TYPE (\S+) /.exec(line)?.[1];
    if (name !== undefined) {
      current = new Map();
      metrics.set(name, current);
    } else if (!line.startsWith('#')) {
      for (const [, label = '', value = ''] of line.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
        current.set(label, (current.get(label) ?? new Set()).add(value));
      }
    }
  }
  return metrics;
}

/** The name in the `# TYPE` line for a sample's name. The samples of a histogram have suffixes. */
export function typeName(metrics: ReadonlyMap<string, LabelValues>, sample: string): string {
  const base = sample.replace(/_(bucket|sum|count)$/, '');
  return metrics.has(base) ? base : sample;
}
