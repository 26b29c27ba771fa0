export type Labels = Readonly<Record<string, string>>;

/** The suffixes of the samples of a histogram or summary. Its `# TYPE` line has no suffix. */
const DERIVED = /_(bucket|sum|count)$/;

/**
 * Sums all samples of a metric that have at least these labels. Returns 0 if no sample matches.
 * @param text Prometheus text format 0.0.4
 * @throws Error if the metric does not exist, because a misspelt name would otherwise always sum to 0
 */
export function sumSamples(text: string, name: string, labels: Labels = {}): number {
  const known = new RegExp(`^# TYPE (${name}|${name.replace(DERIVED, '')}) `, 'm');
  if (!known.test(text)) throw new Error(`no metric "${name}" in the response of /metrics`);
  let sum = 0;
  for (const line of text.split('\n')) {
    // Most of the hundreds of lines are of other metrics.
    if (!line.startsWith(name)) continue;
    const sample = /^(?<name>[a-zA-Z_:][\w:]*)(?:\{(?<labels>.*)\})? (?<value>\S+)/.exec(line)?.groups;
    if (sample?.name !== name || !hasLabels(sample.labels ?? '', labels)) continue;
    sum += Number(sample.value?.replace('Inf', 'Infinity'));
  }
  return sum;
}

function hasLabels(text: string, wanted: Labels): boolean {
  const present = new Map<string, string>();
  for (const [, name = '', value = ''] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    present.set(
      name,
      value.replace(/\\(.)/g, (_, char: string) => (char === 'n' ? '\n' : char)),
    );
  }
  return Object.entries(wanted).every(([name, value]) => present.get(name) === value);
}
