import { isNode, type Pair } from 'yaml';
import { contentOf, hasUnsuitedTag, jsonOf, type Page } from './block-edits.ts';
import { type Collection, endOf, type FormerCollection, type Gap, gapsBetween, type Item } from './collection-items.ts';
import { isArray, isObject, type Json } from './json.ts';
import { columnOf, isFirstOnLine, type TextEdit } from './text-edits.ts';
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
  const edits = gaps?.map((gap) => gapEdit(page, gap, first));
  if (edits === undefined || edits.length === 0 || !former.isBare) return edits;
  const end = endOf(first.value);
  // The items that are added to the list are before or after the braces, and these pairs between them.
  const braces = [
    { start: first.start, end: first.start, text: '{', depth: -1 },
    { start: end, end, text: '}', depth: 1 },
  ];
  return [...braces, ...edits.map((edit) => ({ ...edit, depth: 2 }))];
}

function gapEdit(page: Page, { before, removed, added, after }: Gap, first: Item): TextEdit {
  const { text, style } = page;
  const margin = marginOf(text, first);
  const separator = margin === undefined ? ', ' : `,${style.lineBreak}${margin}`;
  const written = added.length === 0 ? '' : itemsText(page, contentOf(page, added), separator, margin);
  const [gone] = removed;
  const lastGone = removed.at(-1);
  if (before !== undefined) {
    const start = endOf(before.value);
    const end = lastGone ? endOf(lastGone.value) : start;
    return { start, end, text: written && separator + written + spaceAfter(text, end), depth: 0 };
  }
  if (after === undefined) {
    return { start: gone?.start ?? 0, end: lastGone ? endOf(lastGone.value) : 0, text: written, depth: 0 };
  }
  return { start: gone?.start ?? after.start, end: after.start, text: written && written + separator, depth: 0 };
}

/** The edit for a pair of a map in flow style that has another value. */
export function flowValueEdits(page: Page, { value }: Pair, item: Item): TextEdit[] | undefined {
  const { range } = item.value;
  if (!isNode(value) || !range || hasUnsuitedTag(item.value, value)) return undefined;
  const { text } = page;
  const written = valueText(page, jsonOf(page, value), marginOf(text, item));
  const [start, end] = item.colon === undefined ? [range[1], range[1]] : range;
  const before = item.colon === undefined ? ': ' : /[\s[{,]/.test(text[start - 1] ?? '') ? '' : ' ';
  // An item that is added after an empty value begins at the same place.
  return [{ start, end, text: before + written + spaceAfter(text, end), depth: 3 }];
}

/** A comment must not follow immediately. */
function spaceAfter(text: string, end: number): string {
  return text[end] === '#' ? ' ' : '';
}

/** The indentation of an item that has lines of its own. */
function marginOf(text: string, item: Item): string | undefined {
  return isFirstOnLine(text, item.start) ? ' '.repeat(columnOf(text, item.start)) : undefined;
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
