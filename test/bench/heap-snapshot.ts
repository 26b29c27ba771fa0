/** Bytes of a heap by kind of object, such as `string` or `object Map`. */
export type HeapByKind = ReadonlyMap<string, number>;

interface Snapshot {
  readonly snapshot: {
    readonly meta: {
      readonly node_fields: readonly string[];
      readonly node_types: readonly [readonly string[], ...unknown[]];
    };
  };
  readonly nodes: readonly number[];
  readonly strings: readonly string[];
}

/** Kinds whose name is a text of the program, not a class. */
const WITHOUT_NAME = new Set(['string', 'concatenated string', 'sliced string', 'number', 'bigint', 'symbol', 'code']);

/** Adds up a heap snapshot of V8 by kind of object. */
export function sumByKind(text: string): HeapByKind {
  const { snapshot, nodes, strings } = JSON.parse(text) as Snapshot;
  const { node_fields: fields, node_types: types } = snapshot.meta;
  const [type, name, size] = ['type', 'name', 'self_size'].map((field) => fields.indexOf(field)) as [
    number,
    number,
    number,
  ];
  const sums = new Map<string, number>();
  for (let at = 0; at < nodes.length; at += fields.length) {
    const kind = types[0][nodes[at + type] as number] ?? '';
    const label = WITHOUT_NAME.has(kind) ? kind : `${kind} ${strings[nodes[at + name] as number]}`;
    sums.set(label, (sums.get(label) ?? 0) + (nodes[at + size] as number));
  }
  return sums;
}

/** The difference of two heaps for each of `count` callers, largest first. */
export function growthByKind(before: HeapByKind, after: HeapByKind, count: number): { kind: string; bytes: number }[] {
  return [...after]
    .map(([kind, bytes]) => ({ kind, bytes: (bytes - (before.get(kind) ?? 0)) / count }))
    .sort((a, b) => b.bytes - a.bytes);
}
