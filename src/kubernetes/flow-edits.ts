import { isNode, type Node, type Pair } from 'yaml';
import { contentOf, jsonOf, type Page } from './block-edits.ts';
import {
  type Collection,
  type FormerCollection,
  type Gap,
  gapsBetween,
  type Item,
  itemColumn,
} from './collection-items.ts';
import { isArray, isObject, type Json } from './json.ts';
import { isFirstOnLine, type TextEdit } from './text-edits.ts';
import { flowPairs, flowText } from './yaml-text.ts';

/** The edits of a collection in flow style: items come and go with one of the commas beside them. */
export function flowEdits(page: Page, collection: Collection, former: FormerCollection): TextEdit[] | undefined {
  const { items, holder } = former;
  const [first] = items;
  if (first === undefined || collection.items.length === 0) {
    if (!collection.range) return undefined;
    const [start, end] = collection.range;
    const text = valueText(page, jsonOf(page, collection), holder && marginOf(page.text, holder));
    return [{ start, end, text, depth: 0 }];
  }
  const gaps = gapsBetween(items, collection.items);
  return gaps?.map((gap) => gapEdit(page, gap, first));
}

function gapEdit(page: Page, { before, removed, added, after }: Gap, first: Item): TextEdit {
  const { text, style } = page;
  const margin = marginOf(text, first);
  const separator = margin === undefined ? ', ' : `,${style.lineBreak}${margin}`;
  const written = added.length === 0 ? '' : itemsText(page, contentOf(page, added), separator, margin);
  const [gone] = removed;
  const lastGone = removed.at(-1);
  if (before !== undefined) {
    const start = endOf(before);
    return { start, end: lastGone ? endOf(lastGone) : start, text: written && separator + written, depth: 0 };
  }
  if (after === undefined) {
    return { start: gone?.start ?? 0, end: lastGone ? endOf(lastGone) : 0, text: written, depth: 0 };
  }
  return { start: gone?.start ?? after.start, end: after.start, text: written && written + separator, depth: 0 };
}

/** The edit for a pair of a map in flow style that has another value. */
export function flowValueEdits(page: Page, { value }: Pair, item: Item): TextEdit[] | undefined {
  const { range } = item.value;
  if (!isNode(value) || !range || item.colon === undefined) return undefined;
  const text = valueText(page, jsonOf(page, value), marginOf(page.text, item));
  const space = page.text[range[0] - 1] === ':' ? ' ' : '';
  return [{ start: range[0], end: range[1], text: space + text, depth: 0 }];
}

function endOf({ value }: Item): number {
  return (value as Node).range?.[1] ?? 0;
}

/** The indentation of an item that has lines of its own. */
function marginOf(text: string, item: Item): string | undefined {
  return isFirstOnLine(text, item.start) ? ' '.repeat(itemColumn(text, item)) : undefined;
}

function itemsText(page: Page, content: Json, separator: string, margin: string | undefined): string {
  if (isArray(content)) return content.map((one) => valueText(page, one, margin)).join(separator);
  if (page.style.json === undefined) return flowPairs(content);
  const pairs = Object.entries(isObject(content) ? content : {});
  return pairs.map(([key, one]) => `${JSON.stringify(key)}: ${valueText(page, one, margin)}`).join(separator);
}

/** @param margin of the line that the value begins on; undefined writes a single line */
function valueText({ style }: Page, value: Json, margin: string | undefined): string {
  if (style.json === undefined) return flowText(value);
  if (margin === undefined) return JSON.stringify(value);
  return JSON.stringify(value, null, style.json).replaceAll('\n', `${style.lineBreak}${margin}`);
}
