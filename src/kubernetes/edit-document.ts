import {
  type Document,
  type DocumentOptions,
  isCollection,
  isMap,
  isNode,
  isPair,
  isSeq,
  type Node,
  type ParseOptions,
  parseDocument,
  type SchemaOptions,
  type Tags,
  visit,
} from 'yaml';
import { blockEdits, expand, type Page, valueEdits } from './block-edits.ts';
import { type Collection, type FormerCollection, isBlockMap, itemOf, itemsOf } from './collection-items.ts';
import { flowEdits, flowValueEdits } from './flow-edits.ts';
import { type Json, sameJson } from './json.ts';
import { fromPointer, type PatchOperation } from './json-patch.ts';
import { applyEdits, columnOf, type TextEdit } from './text-edits.ts';
import { blockText, MAX_ALIASES, type Style } from './yaml-text.ts';

/** Reads YAML 1.1 with merge keys, as kubectl does. A timestamp is a string, because JSON has no type for it. */
export const READING = {
  version: '1.1',
  schema: 'core',
  merge: true,
  uniqueKeys: true,
  logLevel: 'error',
  keepSourceTokens: true,
  customTags: (tags: Tags) => tags.map(keepSource),
} as const satisfies ParseOptions & SchemaOptions & DocumentOptions;

/** Writes a number, boolean or null as it was read: 0644, an octal number in YAML 1.1, must not become 644. */
function keepSource(tag: Tags[number]): Tags[number] {
  if (typeof tag === 'string' || tag.collection !== undefined || tag.test === undefined) return tag;
  const { stringify: write } = tag;
  return { ...tag, stringify: (scalar, ...rest) => scalar.source ?? write?.(scalar, ...rest) ?? String(scalar.value) };
}

/** A document, with the text of its stream, and the part of the text that is its own. */
export interface DocumentSource {
  readonly document: Document;
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/**
 * Applies operations to the text of a document. Only the lines of the changes are written, so every other byte stays.
 * A document in an unusual form is written again by the yaml package: its comments stay, its white space does not.
 * @param source its document is changed
 * @param expected the content of the document after the operations
 * @returns undefined if the document cannot be edited, because an alias or a merge key stands in the way
 */
export function editDocument(
  { document, text, start, end }: DocumentSource,
  operations: readonly PatchOperation[],
  expected: Json,
): string | undefined {
  const part = text.slice(start, end);
  const style = styleOf(document, text, part);
  // Lines are added and removed whole, so the last one needs a line break meanwhile.
  const ending = part.endsWith('\n') ? '' : style.lineBreak;
  const page: Page = { text: text.slice(0, end) + ending, document, style };
  const former = new Map<Collection, FormerCollection | undefined>();
  if (!operations.every((operation) => applyOperation(document, operation, former))) return undefined;
  const edits = [...former].flatMap(([collection, before]) => (before && editsOf(page, collection, before)) ?? [NONE]);
  const edited = edits.includes(NONE) ? undefined : applyEdits(part + ending, start, edits);
  const written = edited?.slice(0, edited.length - ending.length);
  if (written !== undefined && contains(written, expected)) return written;
  const again = writeAgain(document, style);
  if (again === undefined || !contains(again, expected)) return undefined;
  return (ending === '' ? again : again.trimEnd()).replaceAll('\n', style.lineBreak);
}

/** Stands for a change that edits cannot make. */
const NONE: TextEdit = { start: -1, end: -1, text: '', depth: 0 };

function editsOf(page: Page, collection: Collection, former: FormerCollection): TextEdit[] | undefined {
  const isFlow = collection.flow === true;
  const values = former.items.map((item) => {
    const pair = item.item;
    if (!isPair(pair) || (pair.value ?? pair.key) === item.value || !collection.items.includes(pair as never))
      return [];
    return isFlow ? flowValueEdits(page, pair, item) : valueEdits(page, pair, item);
  });
  const { holder } = former;
  const expanded =
    former.items.length === 0 && holder !== undefined && !former.isHeldInFlow && page.style.json === undefined;
  const items = expanded
    ? expand(page, holder, collection)
    : isFlow
      ? flowEdits(page, collection, former)
      : blockEdits(page, collection, former);
  return items === undefined || values.includes(undefined)
    ? undefined
    : [...items, ...values.flatMap((one) => one ?? [])];
}

/** @returns undefined if the target of an alias is gone */
function writeAgain(document: Document, { indent, indentSeq }: Style): string | undefined {
  try {
    return document.toString({ lineWidth: 0, indent, indentSeq });
  } catch {
    return undefined;
  }
}

/** Tests the content of a text. */
export function contains(text: string, expected: Json): boolean {
  return sameJson(readText(text, READING), expected);
}

/** Do two texts have the same content for kubectl, which reads 01000 as octal, yes as a boolean, and long numbers exactly? */
export function agreeForKubectl(left: string, right: string): boolean {
  const [one, other] = [left, right].map((text) =>
    readText(text, { ...READING, schema: 'yaml-1.1', intAsBigInt: true }),
  );
  return one !== undefined && sameJson(one, other);
}

/** @returns undefined if the text is invalid, or an alias is unknown or expands to too much */
function readText(text: string, options: ParseOptions & SchemaOptions & DocumentOptions): Json | undefined {
  try {
    const document = parseDocument(text, options);
    return document.errors.length === 0 ? (document.toJS({ maxAliasCount: MAX_ALIASES }) as Json) : undefined;
  } catch {
    return undefined;
  }
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
    json: isJson(part) ? (/(?<=\{\r?\n)[ \t]+(?=")/.exec(part)?.[0] ?? '') : undefined,
  };
}

function isJson(text: string): boolean {
  if (!text.trimStart().startsWith('{')) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** @returns false if the path leads through an alias, or nowhere */
function applyOperation(
  document: Document,
  operation: PatchOperation,
  former: Map<Collection, FormerCollection | undefined>,
): boolean {
  const path = fromPointer(operation.path);
  const key = path.at(-1) ?? '';
  const parent = document.getIn(path.slice(0, -1), true);
  if (!isMap(parent) && !isSeq(parent)) return false;
  if (!former.has(parent)) former.set(parent, formerCollection(document, parent, path));
  if (operation.op === 'remove') return parent.delete(key);
  const node = createNode(operation.value);
  if (isSeq(parent) && operation.op === 'add') parent.items.splice(Number(key), 0, node);
  else parent.set(key, node);
  return true;
}

/** A node for the yaml package, with the quotes that it would not write by itself. */
function createNode(value: Json): Node {
  const text = blockText({ value }, 0, { lineBreak: '\n', indent: 2, indentSeq: true, json: undefined });
  const node = parseDocument(text, READING).get('value', true);
  if (!isNode(node)) throw new TypeError('a value has no node');
  return node;
}

function formerCollection(document: Document, collection: Collection, path: readonly string[]) {
  const items = itemsOf(collection);
  if (items === undefined) return undefined;
  const outer = path.length > 1 ? document.getIn(path.slice(0, -2), true) : undefined;
  const pair = isMap(outer) ? outer.items.find(({ value }) => value === collection) : undefined;
  return { items, holder: itemOf(pair), isHeldInFlow: !isBlockMap(outer) };
}
