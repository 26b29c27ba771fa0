import { readDeployFile } from './manifests.ts';

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly datasource?: unknown;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string; readonly datasource: unknown }[];
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly type: string }[] };
  readonly annotations: { readonly list: readonly { readonly expr?: string }[] };
}

export const readDashboard = (): Dashboard => JSON.parse(readDeployFile('grafana/cambist.json')) as Dashboard;

export function queriesOf(dashboard: Dashboard): { from: string; expr: string }[] {
  const panels = dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ from: `panel "${title}"`, expr })),
  );
  const annotations = dashboard.annotations.list.flatMap(({ expr }) =>
    expr === undefined ? [] : [{ from: 'an annotation', expr }],
  );
  return [...panels, ...annotations];
}

/** The values of each label in the samples of a metric. */
export type LabelValues = ReadonlyMap<string, ReadonlySet<string>>;

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

/** A metric selector of a query. */
interface Selector {
  readonly metric: string;
  readonly matchers: readonly { readonly label: string; readonly value: string }[];
}

const STRING = /"(?:[^"\\]|\\.)*"/g;
const OWN_METRIC = /\b(?:cambist|process|nodejs)_[a-z0-9_]+\b(?!\s*\{)/g;

/** Parses the PromQL that our rules and our dashboard use. */
export function selectorsOf(promql: string): Selector[] {
  const selectors = [...promql.matchAll(/\b([a-zA-Z_:][\w:]*)\{([^}]*)\}/g)].map(([, metric = '', inner = '']) => ({
    metric,
    matchers: [...inner.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"/g)].map(
      ([, label = '', value = '']) => ({
        label,
        value,
      }),
    ),
  }));
  const bare = [...promql.replace(STRING, '""').matchAll(OWN_METRIC)].map(([metric]) => ({ metric, matchers: [] }));
  return [...selectors, ...bare];
}

/** The labels by which a query groups or joins. */
export function groupingLabelsOf(promql: string): string[] {
  const groupings = promql.replace(STRING, '""').matchAll(/\b(?:by|on|group_left)\s*\(([^)]*)\)/g);
  return [...groupings].flatMap(([, inner = '']) => inner.split(',').map((label) => label.trim()));
}
