import {
  isMap,
  isNode,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  parseDocument,
  visit,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';

/** The form of the document does not allow the change where it stands. */
export class NotInPlace extends Error {}

export type Reading = NonNullable<Parameters<typeof parseDocument>[1]>;

/** A collection, and the entry of a block map that it is the value of, where there is one. */
export interface Place {
  readonly collection: YAMLMap | YAMLSeq;
  readonly holder: Pair | undefined;
}

/** Finds the collection at a path. @throws {NotInPlace} where the way leads through an alias, or nowhere */
export function placeAt(text: string, path: readonly string[], reading: Reading): Place {
  let node: unknown = parseDocument(text, reading).contents;
  let holder: Pair | undefined;
  for (const step of path) {
    const inBlockMap = isMap(node) && node.flow !== true;
    const pair = isMap(node) ? pairOf(node, step) : undefined;
    node = isSeq(node) ? node.items[Number(step)] : pair?.value;
    holder = inBlockMap ? pair : undefined;
  }
  if (!isMap(node) && !isSeq(node)) throw new NotInPlace(path.join('.'));
  return { collection: node, holder };
}

export function pairOf(map: YAMLMap, key: string): Pair | undefined {
  return map.items.find((pair) => isScalar(pair.key) && String(pair.key.value) === key);
}

/** Start and end of a node's own text. */
export function rangeOf(node: unknown): readonly [number, number] {
  if (!isNode(node) || node.range === null || node.range === undefined) throw new NotInPlace('no range');
  return [node.range[0], node.range[1]];
}

/** The end of what an entry of a map says. */
export function endOfPair({ key, value }: Pair): number {
  return isNode(value) ? endOf(value) : rangeOf(key)[1];
}

/** The end of the last thing in a node; a block collection's own range goes on to what follows it. */
export function endOf(node: Node): number {
  if (isMap(node) && node.flow !== true) {
    const last = node.items.at(-1);
    if (last !== undefined) return endOfPair(last);
  }
  if (isSeq(node) && node.flow !== true) {
    const last = node.items.at(-1);
    if (isNode(last)) return endOf(last);
  }
  return rangeOf(node)[1];
}

/** Just after the colon of an entry. */
export function afterColon(text: string, { key }: Pair): number {
  const colon = text.indexOf(':', rangeOf(key)[1]);
  if (colon < 0) throw new NotInPlace('no colon');
  return colon + 1;
}

export function lineStart(text: string, offset: number): number {
  return text.lastIndexOf('\n', offset - 1) + 1;
}

/** Where the next line begins, or the end of the text. */
export function lineEnd(text: string, offset: number): number {
  const end = text.indexOf('\n', offset);
  return end < 0 ? text.length : end + 1;
}

export function columnOf(text: string, offset: number): number {
  return offset - lineStart(text, offset);
}

/** Where the line after a node begins. */
export function lineAfter(text: string, node: Node): number {
  const end = endOf(node);
  // A block scalar ends after its last line.
  return end > 0 && text[end - 1] === '\n' ? end : lineEnd(text, end);
}

/** The same, behind the comments that stand deeper than a column, and so belong to what is before. */
export function lineAfterComments(text: string, node: Node, column: number): number {
  let end = lineAfter(text, node);
  for (;;) {
    const next = lineEnd(text, end);
    const [, indent] = /^( *)#/.exec(text.slice(end, next)) ?? [];
    if (indent === undefined || indent.length <= column) return end;
    end = next;
  }
}

/** Do the lists of this document stand deeper than the keys that they belong to? The first one tells. */
export function indentsLists(text: string, reading: Reading): boolean {
  let answer: boolean | undefined;
  visit(parseDocument(text, reading), {
    Pair(_, { key, value }) {
      if (!isSeq(value) || value.flow === true || !isNode(key)) return undefined;
      answer = columnOf(text, rangeOf(value)[0]) > columnOf(text, rangeOf(key)[0]);
      return visit.BREAK;
    },
  });
  return answer ?? true;
}
