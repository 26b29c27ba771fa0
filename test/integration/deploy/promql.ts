/** A metric selector of a query. */
export interface Selector {
  readonly metric: string;
  readonly matchers: readonly Matcher[];
}

export interface Matcher {
  readonly label: string;
  readonly value: string;
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
