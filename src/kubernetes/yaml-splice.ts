import { isMap, isNode, isScalar, isSeq, type Pair, stringify, type YAMLMap, type YAMLSeq } from 'yaml';
import { isArray, isObject, type Json } from './json.ts';
import { fromPointer, type PatchOperation } from './json-patch.ts';
import {
  afterColon,
  columnOf,
  endOf,
  endOfPair,
  indentsLists,
  lineAfter,
  lineAfterComments,
  lineEnd,
  lineStart,
  NotInPlace,
  type Place,
  pairOf,
  placeAt,
  type Reading,
  rangeOf,
} from './yaml-places.ts';

/**
 * Applies one operation to the text of a YAML document, touching nothing else: no comment, no blank, no quotes.
 * Whoever calls it reads the result and compares: where a form is not foreseen here, that comes out wrong, not unnoticed.
 * @throws {NotInPlace}
 */
export function spliceText(text: string, operation: PatchOperation, reading: Reading): string {
  const path = fromPointer(operation.path);
  const last = path.at(-1) ?? '';
  const place = placeAt(text, path.slice(0, -1), reading);
  const { collection } = place;
  const pen = { text, indentSeq: indentsLists(text, reading) };
  if (isSeq(collection)) {
    if (operation.op === 'add') return addItem(pen, place, collection, Number(last), operation.value);
    const item = collection.items[Number(last)];
    if (operation.op === 'remove') return removeItem(pen, place, collection, Number(last));
    return cut(text, ...rangeOf(item), scalar(operation.value));
  }
  if (operation.op === 'add') return addEntry(pen, place, collection, last, operation.value);
  const pair = pairOf(collection, last);
  if (pair === undefined) throw new NotInPlace(operation.path);
  if (operation.op === 'remove') return removeEntry(pen, place, collection, pair);
  const { value } = operation;
  if (collection.flow === true) return cut(text, ...rangeOf(pair.value), JSON.stringify(value));
  if (isScalar(pair.value) && !isObject(value) && !isArray(value))
    return cut(text, ...rangeOf(pair.value), scalar(value));
  if (isEmptyValue(pair.value)) return expand(pen, pair, value);
  if (isNode(pair.value) && isEmptyJson(value)) return collapse(pen, pair, value);
  return spliceText(removeEntry(pen, place, collection, pair), { op: 'add', path: operation.path, value }, reading);
}

/** The text, and how lists are written in it. */
interface Pen {
  readonly text: string;
  readonly indentSeq: boolean;
}

function addEntry(pen: Pen, { holder }: Place, map: YAMLMap, key: string, value: Json): string {
  const { text } = pen;
  const last = map.items.at(-1);
  const [first] = map.items;
  if (first === undefined || last === undefined) {
    if (holder !== undefined) return expand(pen, holder, { [key]: value });
    return cut(text, ...rangeOf(map), JSON.stringify({ [key]: value }));
  }
  if (map.flow === true) {
    const end = endOfPair(last);
    return cut(text, end, end, `, ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  }
  const column = columnOf(text, rangeOf(first.key)[0]);
  return insertLines(pen, lineAfterComments(text, map, column), column, { [key]: value });
}

function removeEntry(pen: Pen, { holder }: Place, map: YAMLMap, pair: Pair): string {
  const { text } = pen;
  const [start] = rangeOf(pair.key);
  if (map.flow === true) {
    const index = map.items.indexOf(pair);
    const next = map.items[index + 1];
    return cutFlow(
      text,
      index === 0 ? undefined : endOfPair(map.items[index - 1] ?? pair),
      start,
      endOfPair(pair),
      next && rangeOf(next.key)[0],
    );
  }
  if (map.items.length === 1) return collapse(pen, holder, {});
  if (text.slice(lineStart(text, start), start).trim() !== '') throw new NotInPlace('not on a line of its own');
  const end = isNode(pair.value) ? lineAfter(text, pair.value) : lineEnd(text, start);
  return removeLines(text, lineStart(text, start), end);
}

function addItem(pen: Pen, { holder }: Place, seq: YAMLSeq, index: number, value: Json): string {
  const { text } = pen;
  if (seq.items.length === 0) {
    if (holder !== undefined) return expand(pen, holder, [value]);
    return cut(text, ...rangeOf(seq), JSON.stringify([value]));
  }
  const before = seq.items[index - 1];
  if (seq.flow === true) {
    const place = isNode(before) ? endOf(before) : rangeOf(seq.items[0])[0];
    return cut(text, place, place, isNode(before) ? `, ${JSON.stringify(value)}` : `${JSON.stringify(value)}, `);
  }
  const [dash] = rangeOf(seq);
  const column = columnOf(text, dash);
  if (isNode(before)) return insertLines(pen, lineAfterComments(text, before, column), column, [value]);
  // Above the comments that belong to what was the first.
  const place = holder === undefined ? lineStart(text, dash) : lineEnd(text, afterColon(text, holder));
  return insertLines(pen, place, column, [value]);
}

function removeItem(pen: Pen, { holder }: Place, seq: YAMLSeq, index: number): string {
  const { text } = pen;
  const item = seq.items[index];
  if (!isNode(item)) throw new NotInPlace('no item');
  const [start] = rangeOf(item);
  if (seq.flow === true) {
    const before = seq.items[index - 1];
    const next = seq.items[index + 1];
    return cutFlow(
      text,
      isNode(before) ? endOf(before) : undefined,
      start,
      endOf(item),
      isNode(next) ? rangeOf(next)[0] : undefined,
    );
  }
  if (seq.items.length === 1) return collapse(pen, holder, []);
  const from = lineStart(text, start);
  if (text.slice(from, start).trim() !== '-') throw new NotInPlace('not on a line of its own');
  return removeLines(text, from, lineAfter(text, item));
}

/** Takes an item of a flow collection away, with one of the commas beside it. */
function cutFlow(
  text: string,
  previousEnd: number | undefined,
  start: number,
  end: number,
  nextStart: number | undefined,
) {
  if (previousEnd !== undefined) return cut(text, previousEnd, end, '');
  return cut(text, start, nextStart ?? end, '');
}

/** Writes a block where an entry had nothing, null, `[]` or `{}`. */
function expand(pen: Pen, pair: Pair, value: Json): string {
  const { text, indentSeq } = pen;
  const colon = afterColon(text, pair);
  const [start, end] = isNode(pair.value) ? rangeOf(pair.value) : [colon, colon];
  if (!/^[ \t]*$/.test(text.slice(colon, start))) throw new NotInPlace('something stands before the value');
  const emptied = cut(text, colon, Math.max(colon, end), '');
  const column = columnOf(text, rangeOf(pair.key)[0]) + (isArray(value) && !indentSeq ? 0 : 2);
  return insertLines({ ...pen, text: emptied }, lineEnd(emptied, colon), column, value);
}

/** The reverse: the block goes, and what was there before comes back. */
function collapse({ text }: Pen, pair: Pair | undefined, value: Json): string {
  if (pair === undefined || !isNode(pair.value)) throw new NotInPlace('not the value of a key');
  const colon = afterColon(text, pair);
  const start = lineStart(text, rangeOf(pair.value)[0]);
  if (start < colon) throw new NotInPlace('on the line of its key');
  const removed = removeLines(text, start, lineAfter(text, pair.value));
  return cut(removed, colon, colon, value === null ? '' : ` ${JSON.stringify(value)}`);
}

function cut(text: string, start: number, end: number, replacement: string): string {
  return text.slice(0, start) + replacement + text.slice(end);
}

function insertLines({ text, indentSeq }: Pen, offset: number, column: number, value: Json): string {
  const newline = text.includes('\r\n') ? '\r\n' : '\n';
  // Whatever YAML 1.1 would take for a boolean or a date is put into quotes.
  const written = stringify(value, { compat: 'yaml-1.1', lineWidth: 0, indentSeq });
  const lines = written
    .trimEnd()
    .split('\n')
    .map((line) => (line === '' ? '' : ' '.repeat(column) + line));
  const block = lines.join(newline);
  const endsOpen = offset > 0 && text[offset - 1] !== '\n';
  return cut(text, offset, offset, endsOpen ? newline + block : block + newline);
}

/** At the end of a text without a last line end, the one before goes instead. */
function removeLines(text: string, start: number, end: number): string {
  const open = end === text.length && !text.endsWith('\n');
  const newline = text.slice(0, start).endsWith('\r\n') ? 2 : 1;
  return cut(text, open && start > 0 ? start - newline : start, end, '');
}

function scalar(value: Json): string {
  const written = stringify(value, { compat: 'yaml-1.1', lineWidth: 0 }).trimEnd();
  if (written.includes('\n')) throw new NotInPlace('a text of several lines');
  return written;
}

function isEmptyValue(node: unknown): boolean {
  if (node === null || (isScalar(node) && node.value === null)) return true;
  return (isMap(node) || isSeq(node)) && node.items.length === 0;
}

function isEmptyJson(value: Json): boolean {
  if (isArray(value)) return value.length === 0;
  return value === null || (isObject(value) && Object.keys(value).length === 0);
}
