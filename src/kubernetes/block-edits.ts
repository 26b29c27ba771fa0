import { type Document, isCollection, isMap, isNode, isPair, isScalar, isSeq, type Node, type Pair } from 'yaml';
import {
  type Collection,
  type FormerCollection,
  type Gap,
  gapsBetween,
  type Item,
  lineAfter,
  lineAfterComments,
  startOfComments,
} from './collection-items.ts';
import type { Json } from './json.ts';
import { columnOf, isFirstOnLine, lineStart, nextLine, type TextEdit } from './text-edits.ts';
import { blockText, flowText, inlineText, MAX_ALIASES, type Style } from './yaml-text.ts';

/** A document in a text, for which edits are made. */
export interface Page {
  readonly text: string;
  readonly document: Document;
  readonly style: Style;
}

/**
 * The edits of a collection in block style: whole lines come and go.
 * @returns undefined if the form of the collection does not allow that
 */
export function blockEdits(page: Page, collection: Collection, former: FormerCollection): TextEdit[] | undefined {
  const { items, holder } = former;
  if (collection.items.length === 0) return holder && collapse(page, holder, items, jsonOf(page, collection));
  const gaps = gapsBetween(items, collection.items);
  const first = items[0];
  if (gaps === undefined || first === undefined) return undefined;
  const column = columnOf(page.text, first.start);
  return gaps.flatMap((gap) => gapEdits(page, gap, column, isSeq(collection)));
}

function gapEdits(page: Page, gap: Gap, column: number, isList: boolean): TextEdit[] {
  const { text, style } = page;
  const { before, removed, added, after } = gap;
  const edits = removals(text, removed, after);
  if (added.length === 0) return edits;
  const [gone] = removed;
  const next = gone ?? after;
  const lines = blockText(contentOf(page, added), column, style);
  // After a dash or a colon, the first item begins in the middle of a line.
  if (next !== undefined && !isFirstOnLine(text, next.start)) {
    const margin = after === undefined ? '' : ' '.repeat(column);
    return [...edits, { start: next.start, end: next.start, text: lines.slice(column) + margin, depth: 0 }];
  }
  const place =
    before !== undefined
      ? lineAfterComments(text, before.value, column)
      : lineStart(text, gone?.start ?? startOfComments(text, lineStart(text, after?.start ?? 0)));
  // A list may be as deep as the key that it belongs to, and the rest of its own map follows it.
  return [...edits, { start: place, end: place, text: lines, depth: 2 * column + (isList ? 1 : 0) }];
}

/** Removes the lines of items. After a dash or a colon, the next item takes the place of the first. */
function removals(text: string, removed: readonly Item[], next: Item | undefined): TextEdit[] {
  const [first] = removed;
  if (first === undefined || isFirstOnLine(text, first.start)) {
    return removed.map(({ start, value }) => linesOf(text, start, value));
  }
  const end = lineAfter(text, removed.at(-1)?.value ?? first.value);
  const [space = ''] = /^\s*/.exec(text.slice(end, next?.start ?? end)) ?? [];
  return [{ start: first.start, end: end + space.length, text: '', depth: 0 }];
}

/** The edits for a pair of a map in block style that has another value. */
export function valueEdits(page: Page, pair: Pair, { value: former, start, colon }: Item): TextEdit[] | undefined {
  const { value } = pair;
  if (!isNode(value) || !former.range) return undefined;
  if (colon === undefined) return explicitValueEdits(page, former, start, jsonOf(page, value));
  if (hasUnsuitedTag(former, value)) return undefined;
  const holder = { item: pair, value: former, start, colon };
  const isBlock = isCollection(former) && former.flow !== true;
  if (isCollection(value) && value.items.length > 0) return isBlock ? undefined : expand(page, holder, value);
  if (isBlock) return collapse(page, holder, undefined, jsonOf(page, value));
  const [from, to] = former.range;
  const quote = page.text[from];
  const written = inlineText(jsonOf(page, value), quote);
  if (isBlockScalar(former)) {
    return [{ start: from, end: to, text: written + page.style.lineBreak, depth: 0 }];
  }
  const space = page.text[from - 1] === ':' ? ' ' : '';
  return [{ start: from, end: to, text: space + written, depth: 0 }];
}

/** Adds a value to a key without one: `? volumes`. The keys that follow come after it. */
function explicitValueEdits({ text, style }: Page, key: Node, start: number, value: Json): TextEdit[] {
  const place = lineAfter(text, key);
  const column = columnOf(text, start);
  const line = `${' '.repeat(column)}: ${flowText(value)}${style.lineBreak}`;
  return [{ start: place, end: place, text: line, depth: 2 * column + 2 }];
}

/** Writes a block in place of a scalar, or of an empty list or map. */
export function expand(page: Page, { value: former, start }: Item, value: Node): TextEdit[] | undefined {
  const { text, style } = page;
  if (!former.range || isBlockScalar(former) || !isFirstOnLineOrDash(text, start)) return undefined;
  const [from, to] = former.range;
  // The white space before the value goes with it, as far as there is a value.
  const space = from === to ? 0 : (/(?<![ \t])[ \t]*$/.exec(text.slice(0, from).slice(-80))?.[0].length ?? 0);
  const column = columnOf(text, start) + (isSeq(value) && !style.indentSeq ? 0 : style.indent);
  const place = nextLine(text, to);
  const lines = blockText(jsonOf(page, value), column, style);
  return [
    { start: from - space, end: to, text: '', depth: 0 },
    { start: place, end: place, text: lines, depth: 2 * column + (isSeq(value) ? 1 : 0) },
  ];
}

/** Writes a scalar, or an empty list or map, in place of a block. */
function collapse(
  { text, style }: Page,
  { value: former, colon }: Item,
  items: readonly Item[] | undefined,
  value: Json,
): TextEdit[] | undefined {
  if (colon === undefined || !former.range) return undefined;
  const written = ` ${inlineText(value)}`;
  const [first] = items ?? [];
  if (!isFirstOnLine(text, first?.start ?? former.range[0])) {
    return [{ start: colon, end: lineAfter(text, former), text: written + style.lineBreak, depth: 0 }];
  }
  const lines = items === undefined ? [linesOf(text, former.range[0], former)] : removals(text, items, undefined);
  return [{ start: colon, end: colon, text: written, depth: 0 }, ...lines];
}

/** Removes the lines of a node. */
function linesOf(text: string, start: number, node: Node): TextEdit {
  return { start: lineStart(text, start), end: lineAfter(text, node), text: '', depth: 0 };
}

/** Does a tag state that the former value is not what the next one is? */
export function hasUnsuitedTag(former: Node, value: Node): boolean {
  return former.tag !== undefined && (isMap(former) !== isMap(value) || isSeq(former) !== isSeq(value));
}

function isBlockScalar(node: Node): boolean {
  return isScalar(node) && (node.type === 'BLOCK_LITERAL' || node.type === 'BLOCK_FOLDED');
}

function isFirstOnLineOrDash(text: string, start: number): boolean {
  return /^[\s\uFEFF:?-]*$/.test(text.slice(lineStart(text, start), start));
}

/** The content of nodes, or of pairs. */
export function contentOf(page: Page, items: readonly unknown[]): Json {
  if (!items.every((item) => isPair(item))) return items.map((item) => jsonOf(page, item));
  return Object.fromEntries(items.map(({ key, value }) => [String(key), jsonOf(page, value)]));
}

export function jsonOf({ document }: Page, node: unknown): Json {
  return isNode(node) ? (node.toJS(document, { maxAliasCount: MAX_ALIASES }) as Json) : null;
}
