import { type CST, isMap, isNode, isPair, type Node, type Pair, type YAMLMap, type YAMLSeq } from 'yaml';
import { nextLine } from './text-edits.ts';

export type Collection = YAMLMap | YAMLSeq;

/** An item of a collection, and its place in the text. */
export interface Item {
  /** The pair of a map, or the node of a list. */
  readonly item: unknown;
  /** The value of a pair, or its key if it has none. */
  readonly value: Node;
  /** Where the item begins: its dash, its key, or what is before the key. */
  readonly start: number;
  /** Just after the colon of a pair, and after the anchor and the tag of its value. */
  readonly colon: number | undefined;
}

/** A collection before it changed. */
export interface FormerCollection {
  readonly items: readonly Item[];
  /** The pair of a map that has the collection as its value. */
  readonly holder: Item | undefined;
  /** Is the map of the holder in flow style? */
  readonly isHeldInFlow: boolean;
  /** A pair in a list that has no braces: `[name: agent]`. */
  readonly isBare: boolean;
}

const FILLING: readonly CST.Token['type'][] = ['space', 'comment', 'newline', 'comma'];

/** @returns undefined if the tokens of the source do not tell where the items are */
export function itemsOf(collection: Collection): Item[] | undefined {
  const source = collection.srcToken as CST.BlockMap | CST.BlockSequence | CST.FlowCollection | undefined;
  const all: readonly CST.CollectionItem[] = source?.items ?? (isBare(collection) ? bareItem(collection) : []);
  const tokens = all.filter((token) => startOf(token) !== undefined);
  const items = collection.items.map((item, index) => itemOf(item, tokens[index]));
  return tokens.length === items.length && items.every((item) => item !== undefined) ? items : undefined;
}

/** The place of a pair. */
export function itemOf(item: unknown, token = isPair(item) ? (item as Pair).srcToken : undefined): Item | undefined {
  const value = isPair(item) ? (item.value ?? item.key) : item;
  const start = token === undefined ? undefined : startOf(token);
  if (start === undefined || !isNode(value) || !value.range) return undefined;
  const before = token?.sep?.findLast(({ type }) => ['map-value-ind', 'anchor', 'tag'].includes(type));
  return { item, value, start, colon: before && before.offset + before.source.length };
}

/** A pair in a list that has no braces: `[name: agent]`. Its tokens are those of an item of the list. */
export function isBare(collection: Collection): boolean {
  return collection.flow === true && collection.srcToken === undefined;
}

function bareItem({ items: [pair] }: Collection): CST.CollectionItem[] {
  return isPair(pair) && pair.srcToken !== undefined ? [pair.srcToken] : [];
}

export function isBlockMap(value: unknown): boolean {
  return isMap(value) && value.flow !== true;
}

function startOf({ start, key, sep, value }: CST.CollectionItem): number | undefined {
  const first = start.find(({ type }) => !FILLING.includes(type)) ?? key ?? sep?.[0] ?? value;
  return first?.offset;
}

/** The start of the line after a node. */
export function lineAfter(text: string, node: Node): number {
  const end = endOf(node);
  // A block scalar ends with its last line.
  return end > 0 && text[end - 1] === '\n' ? end : nextLine(text, end);
}

/** The end of a node in the text, before changes. The range of a block also covers the comments that follow it. */
export function endOf({ srcToken, range }: Node): number {
  const end = srcToken && (isBlockToken(srcToken) ? endOfToken(srcToken) : undefined);
  return end ?? range?.[1] ?? 0;
}

type BlockToken = CST.BlockMap | CST.BlockSequence;

function isBlockToken(token: CST.Token): token is BlockToken {
  return token.type === 'block-map' || token.type === 'block-seq';
}

function endOfToken(token: CST.Token): number | undefined {
  if (isBlockToken(token)) {
    const last = token.items.findLast((item) => startOf(item) !== undefined);
    const { start = [], key, sep = [], value } = last ?? {};
    const indicator = [...start, ...sep].findLast(({ type }) => !FILLING.includes(type));
    const inner = value ?? (sep.length > 0 ? indicator : (key ?? indicator));
    return inner && endOfToken(inner);
  }
  if (token.type === 'flow-collection') return token.end[0] && endOfToken(token.end[0]);
  if (!('source' in token)) return undefined;
  const header = token.type === 'block-scalar' ? token.props : [];
  const length = [...header, token].reduce((sum, part) => sum + ('source' in part ? part.source.length : 0), 0);
  return token.offset + length;
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
