import {
  type Document,
  type DocumentOptions,
  isCollection,
  isMap,
  isNode,
  isPair,
  isSeq,
  type ParseOptions,
  parseDocument,
  type SchemaOptions,
  visit,
} from 'yaml';
import { blockEdits, expand, type Page, valueEdits } from './block-edits.ts';
import { type Collection, type FormerCollection, isBare, isBlockMap, itemOf, itemsOf } from './collection-items.ts';
import { flowEdits, flowValueEdits } from './flow-edits.ts';
import { getIn, isArray, isObject, type Json, type JsonObject, sameJson } from './json.ts';
import { fromPointer, type PatchOperation } from './json-patch.ts';
import { applyEdits, columnOf, type TextEdit } from './text-edits.ts';
import { MAX_ALIASES, type Style } from './yaml-text.ts';

/** Reads YAML 1.1 with merge keys, as kubectl does. A timestamp is a string, because JSON has no type for it. */
export const READING = {
  version: '1.1',
  schema: 'core',
  merge: true,
  uniqueKeys: true,
  logLevel: 'error',
  keepSourceTokens: true,
} as const satisfies ParseOptions & SchemaOptions & DocumentOptions;

/** A document, with the text of its stream, and the part of the text that is its own. */
export interface DocumentSource {
  readonly document: Document;
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** The edited text; or the offset in the stream of the value that cannot be edited in its form. */
export type EditedDocument = { readonly text: string } | { readonly obstacle: number };

/**
 * Applies operations to the text of a document. Only the lines of the changes are written, so every other byte stays.
 * @param source its document is changed
 * @param expected the content of the document after the operations
 */
export function editDocument(
  { document, text, start, end }: DocumentSource,
  operations: readonly PatchOperation[],
  expected: Json,
): EditedDocument {
  const part = text.slice(start, end);
  const style = styleOf(document, text, part);
  // Lines are added and removed whole, so the last one needs a line break meanwhile. Trailing blanks stay after them.
  const [blanks = ''] = /(?<=\n)[ \t]+$/.exec(part.slice(-MAX_BLANKS)) ?? [];
  const ending = part.endsWith('\n') || blanks !== '' ? '' : style.lineBreak;
  const body = part.slice(0, part.length - blanks.length);
  const page: Page = { text: text.slice(0, start) + body + ending, document, style };
  const former = new Map<Collection, FormerCollection | undefined>();
  for (const operation of operations) {
    const obstacle = applyOperation(document, operation, former);
    if (obstacle !== undefined) return { obstacle: offsetOf(obstacle, start) };
  }
  const edits: TextEdit[] = [];
  for (const [collection, before] of former) {
    const more = before === undefined ? offsetOf(collection, start) : editsOf(page, collection, before);
    if (typeof more === 'number') return { obstacle: more };
    for (const edit of more) edits.push(edit);
  }
  const edited = applyEdits(body + ending, start, edits);
  const written = edited === undefined ? '' : edited.slice(0, edited.length - ending.length) + blanks;
  const content = contentOfText(written);
  if (sameJson(content, expected)) return { text: written };
  return { obstacle: offsetOf(lastOn(document, differingPath(content, expected)), start) };
}

/** A line has fewer spaces. */
const MAX_BLANKS = 1000;

function offsetOf(node: unknown, otherwise: number): number {
  return (isNode(node) && node.range?.[0]) || otherwise;
}

/** @returns the offset of what cannot be edited in its form, if any */
function editsOf(page: Page, collection: Collection, former: FormerCollection): TextEdit[] | number {
  const isFlow = collection.flow === true;
  const edits: TextEdit[] = [];
  for (const item of former.items) {
    const pair = item.item;
    if (!isPair(pair) || (pair.value ?? pair.key) === item.value || !collection.items.includes(pair as never)) continue;
    const more = isFlow ? flowValueEdits(page, pair, item) : valueEdits(page, pair, item);
    if (more === undefined) return item.start;
    edits.push(...more);
  }
  const { holder } = former;
  const expanded =
    former.items.length === 0 && holder !== undefined && !former.isHeldInFlow && page.style.json === undefined;
  const items = expanded
    ? expand(page, holder, collection)
    : isFlow
      ? flowEdits(page, collection, former)
      : blockEdits(page, collection, former);
  return items === undefined ? offsetOf(collection, holder?.start ?? 0) : [...edits, ...items];
}

export function contains(text: string, expected: Json): boolean {
  return sameJson(contentOfText(text), expected);
}

/** @returns undefined if the text is invalid, or an alias is unknown or expands to too much */
function contentOfText(text: string): Json | undefined {
  try {
    const document = parseDocument(text, READING);
    return document.errors.length === 0 ? (document.toJS({ maxAliasCount: MAX_ALIASES }) as Json) : undefined;
  } catch {
    return undefined;
  }
}

/** The path of the first value that differs. */
function differingPath(left: Json | undefined, right: Json | undefined): string[] {
  if (!isObjectOrArray(left) || !isObjectOrArray(right)) return [];
  const keys = [...Object.keys(right), ...Object.keys(left)];
  const key = keys.find((one) => !sameJson(getIn(left, [one]), getIn(right, [one])));
  return key === undefined ? [] : [key, ...differingPath(getIn(left, [key]), getIn(right, [key]))];
}

function isObjectOrArray(value: Json | undefined): value is JsonObject | readonly Json[] {
  return isObject(value) || isArray(value);
}

/** How a document is written: its first block map and its first block list tell. */
function styleOf(document: Document, text: string, part: string): Style {
  let indent: number | undefined;
  let indentSeq: boolean | undefined;
  visit(document, {
    Pair(_, { key, value }) {
      if (!isNode(key) || !isCollection(value) || value.flow === true || !key.range || !value.range) return undefined;
      const depth = columnOf(text, value.range[0]) - columnOf(text, key.range[0]);
      if (isSeq(value)) indentSeq ??= depth > 0;
      else if (depth > 0) indent ??= depth;
      return indent !== undefined && indentSeq !== undefined ? visit.BREAK : undefined;
    },
  });
  return {
    lineBreak: part.includes('\r\n') ? '\r\n' : '\n',
    indent: indent ?? 2,
    indentSeq: indentSeq ?? true,
    json: jsonIn(document, text) ? (/(?<=\{\r?\n)[ \t]+(?=")/.exec(part)?.[0] ?? '') : undefined,
  };
}

/** Where the value of a document is in its stream, if the value is an object in JSON. */
export function jsonIn({ contents }: Document, text: string): { start: number; end: number } | undefined {
  const [start, end] = contents?.range ?? [0, 0];
  if (text[start] !== '{') return undefined;
  try {
    JSON.parse(text.slice(start, end));
    return { start, end };
  } catch {
    return undefined;
  }
}

/** @returns the value that cannot be changed, because the path leads through an alias or a merge key */
function applyOperation(
  document: Document,
  operation: PatchOperation,
  former: Map<Collection, FormerCollection | undefined>,
): unknown {
  const path = fromPointer(operation.path);
  const key = path.at(-1) ?? '';
  const parent = document.getIn(path.slice(0, -1), true);
  if (!isMap(parent) && !isSeq(parent)) return lastOn(document, path);
  if (!former.has(parent)) former.set(parent, formerCollection(document, parent, path));
  if (operation.op === 'remove') return parent.delete(key) ? undefined : parent;
  const node = document.createNode(operation.value, { aliasDuplicateObjects: false });
  if (isSeq(parent) && operation.op === 'add') parent.items.splice(Number(key), 0, node);
  else parent.set(key, node);
  return undefined;
}

/** The last value on a path that the text has. */
function lastOn(document: Document, path: readonly string[]): unknown {
  const found = [...path, ''].map((_, index) => document.getIn(path.slice(0, index), true));
  return found.findLast((node) => isNode(node) && node.range);
}

function formerCollection(document: Document, collection: Collection, path: readonly string[]) {
  const items = itemsOf(collection);
  if (items === undefined) return undefined;
  const outer = path.length > 1 ? document.getIn(path.slice(0, -2), true) : undefined;
  const pair = isMap(outer) ? outer.items.find(({ value }) => value === collection) : undefined;
  return { items, holder: itemOf(pair), isHeldInFlow: !isBlockMap(outer), isBare: isBare(collection) };
}
