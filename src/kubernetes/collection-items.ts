import { type CST, isMap, isNode, isPair, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml';
import { columnOf, nextLine } from './text-edits.ts';

export type Collection = YAMLMap | YAMLSeq;

/** An item of a collection, and its place in the text. */
export interface Item {
  /** The pair of a map, or the node of a list. */
  readonly item: unknown;
  /** The value of a pair, or its key if it has none. */
  readonly value: Node;
  /** Where the item begins: its dash, its key, or what is before the key. */
  readonly start: number;
  /** Just after the colon of a pair. */
  readonly colon: number | undefined;
}

/** A collection before it changed. */
export interface FormerCollection {
  readonly items: readonly Item[];
  /** The pair of a map that has the collection as its value. */
  readonly holder: Item | undefined;
  /** Is the map of the holder in flow style? */
  readonly isHeldInFlow: boolean;
}

const FILLING: readonly CST.Token['type'][] = ['space', 'comment', 'newline', 'comma'];

/** @returns undefined if the tokens of the source do not tell where the items are */
export function itemsOf(collection: Collection): Item[] | undefined {
  const source = collection.srcToken as CST.BlockMap | CST.BlockSequence | CST.FlowCollection | undefined;
  const all: readonly CST.CollectionItem[] = source?.items ?? [];
  const tokens = all.filter((token) => startOf(token) !== undefined);
  const items = collection.items.map((item, index) => itemOf(item, tokens[index]));
  return tokens.length === items.length && items.every((item) => item !== undefined) ? items : undefined;
}

/** The place of a pair. */
export function itemOf(item: unknown, token = isPair(item) ? (item as Pair).srcToken : undefined): Item | undefined {
  const value = isPair(item) ? (item.value ?? item.key) : item;
  const start = token === undefined ? undefined : startOf(token);
  if (start === undefined || !isNode(value) || !value.range) return undefined;
  const colon = token?.sep?.find(({ type }) => type === 'map-value-ind');
  return { item, value, start, colon: colon && colon.offset + 1 };
}

export function isBlockMap(value: unknown): boolean {
  return isMap(value) && value.flow !== true;
}

function startOf({ start, key, sep, value }: CST.CollectionItem): number | undefined {
  const first = start.find(({ type }) => !FILLING.includes(type)) ?? key ?? sep?.[0] ?? value;
  return first?.offset;
}

/** The start of the line after a node. */
export function lineAfter(text: string, { range }: Node): number {
  const end = range?.[1] ?? 0;
  // A block ends with its last line.
  return end > 0 && text[end - 1] === '\n' ? end : nextLine(text, end);
}

/** The same, after the comments that are deeper than a column, and so belong to the node. */
export function lineAfterComments(text: string, node: Node, column: number): number {
  let end = lineAfter(text, node);
  for (;;) {
    const next = nextLine(text, end);
    const [, indent] = /^( *)#/.exec(text.slice(end, next)) ?? [];
    if (indent === undefined || indent.length <= column) return end;
    end = next;
  }
}

/** The start of the comments and blank lines before a line. */
export function startOfComments(text: string, start: number): number {
  let first = start;
  while (first > 0) {
    const before = text.lastIndexOf('\n', first - 2) + 1;
    const line = text.slice(before, first).trim();
    if (line !== '' && !line.startsWith('#')) return first;
    first = before;
  }
  return first;
}

export function itemColumn(text: string, { start }: Item): number {
  return columnOf(text, start);
}

/** The items that go, and those that come, between two items that stay. */
export interface Gap {
  readonly before: Item | undefined;
  readonly removed: readonly Item[];
  readonly added: readonly unknown[];
  readonly after: Item | undefined;
}

/** @returns undefined if items have changed their order */
export function gapsBetween(former: readonly Item[], now: readonly unknown[]): Gap[] | undefined {
  const indexes = new Map(former.map(({ item }, index) => [item, index]));
  const gaps: Gap[] = [];
  let position = 0;
  let added: unknown[] = [];
  const close = (next: number): void => {
    const removed = former.slice(position, next);
    if (removed.length > 0 || added.length > 0) {
      gaps.push({ before: former[position - 1], removed, added, after: former[next] });
    }
    position = next + 1;
    added = [];
  };
  for (const item of now) {
    const index = indexes.get(item);
    if (index === undefined) added.push(item);
    else if (index < position) return undefined;
    else close(index);
  }
  close(former.length);
  return gaps;
}
