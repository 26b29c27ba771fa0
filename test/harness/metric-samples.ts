export type Labels = Readonly<Record<string, string>>;

/** The suffixes under which a histogram's or summary's samples appear beside their `# TYPE` line. */
const DERIVED = /_(bucket|sum|count)$/;

/**
 * The sum of all samples of a metric that bear these labels (and maybe others); 0 where there are none.
 * @param text Prometheus text format 0.0.4
 * @throws Error when the text does not know the metric at all, since a misspelt name would else be 0 for ever
 */
export function sumSamples(text: string, name: string, labels: Labels = {}): number {
  const known = new RegExp(`^# TYPE (${name}|${name.replace(DERIVED, '')}) `, 'm');
  if (!known.test(text)) throw new Error(`no metric "${name}" in the answer of /metrics`);
  let sum = 0;
  for (const line of text.split('\n')) {
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
