import {
  type Document,
  type DocumentOptions,
  isCollection,
  isNode,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type ParseOptions,
  parseDocument,
  type SchemaOptions,
  stringify,
  type Tags,
  type ToStringOptions,
  visit,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import { type Json, sameJson } from './json.ts';
import { fromPointer, type PatchOperation } from './json-patch.ts';

/** Reads YAML 1.1 with merge keys, as kubectl does. A timestamp is a string, because JSON has no type for it. */
export const READING = {
  version: '1.1',
  schema: 'core',
  merge: true,
  uniqueKeys: true,
  logLevel: 'error',
  customTags: (tags: Tags) => tags.map(keepSource),
} as const satisfies ParseOptions & SchemaOptions & DocumentOptions;

/** Writes a number, boolean or null as it was read: 0644, an octal number in YAML 1.1, must not become 644. */
function keepSource(tag: Tags[number]): Tags[number] {
  if (typeof tag === 'string' || tag.collection !== undefined || tag.test === undefined) return tag;
  const { stringify: write } = tag;
  return { ...tag, stringify: (scalar, ...rest) => scalar.source ?? write?.(scalar, ...rest) ?? String(scalar.value) };
}

/**
 * Applies operations to a document and writes it. Comments, the order of keys, and quotes are kept; white space is not.
 * @param document is changed; `text` is the stream it was parsed from, and `source` its own part of that
 * @param expected the content of the document after the operations
 * @returns undefined if the document cannot be edited, because an alias or a merge key stands in the way
 */
export function editDocument(
  { document, text, source }: { document: Document; text: string; source: string },
  operations: readonly PatchOperation[],
  expected: Json,
): string | undefined {
  if (isJson(source)) return writeJson(source, expected);
  const style = styleOf(document, text);
  if (!operations.every((operation) => applyOperation(document, operation))) return undefined;
  const written = document.toString({ ...style, lineWidth: 0 });
  if (!contains(written, expected)) return undefined;
  const ended = source.endsWith('\n') ? written : written.trimEnd();
  return source.includes('\r\n') ? ended.replaceAll('\n', '\r\n') : ended;
}

/** A number that JavaScript rounds. YAML keeps it, so the document is edited as YAML. */
const LONG_NUMBER = /\d{16}/;

function isJson(text: string): boolean {
  if (!text.trimStart().startsWith('{') || LONG_NUMBER.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function writeJson(source: string, value: Json): string {
  const [indent = ''] = /(?<=\{\r?\n)[ \t]+(?=")/.exec(source) ?? [];
  const [before = ''] = /^\s*/.exec(source) ?? [];
  const [after = ''] = /\s*$/.exec(source) ?? [];
  return before + JSON.stringify(value, null, indent) + after;
}

function contains(text: string, expected: Json): boolean {
  const document = parseDocument(text, READING);
  return document.errors.length === 0 && sameJson(document.toJS() as Json, expected);
}

/** How a document is indented and padded: its first block map, block list and flow collection tell. */
function styleOf(document: Document, text: string): ToStringOptions {
  const style: { indent?: number; indentSeq?: boolean; flowCollectionPadding?: boolean } = {};
  const columnOf = (offset: number): number => offset - (text.lastIndexOf('\n', offset - 1) + 1);
  visit(document, {
    Pair(_, { key, value }) {
      if (!isNode(key) || !isCollection(value) || value.items.length === 0 || !key.range || !value.range) return;
      const [start] = value.range;
      const depth = columnOf(start) - columnOf(key.range[0]);
      if (value.flow === true) style.flowCollectionPadding ??= /\s/.test(text.charAt(start + 1));
      else if (isSeq(value)) style.indentSeq ??= depth > 0;
      else if (depth > 0) style.indent ??= depth;
    },
  });
  return style;
}

/** @returns false if the path leads through an alias, or nowhere */
function applyOperation(document: Document, operation: PatchOperation): boolean {
  const path = fromPointer(operation.path);
  const key = path.at(-1) ?? '';
  const parent = document.getIn(path.slice(0, -1), true);
  if (!isCollection(parent)) return false;
  const wasEmpty = parent.items.length === 0;
  if (operation.op === 'remove') {
    if (!removeEntry(parent, key)) return false;
  } else if (isSeq(parent) && operation.op === 'add') {
    insertItem(parent, Number(key), createNode(operation.value));
  } else {
    setEntry(parent, key, createNode(operation.value));
  }
  const isEmpty = parent.items.length === 0;
  if (isEmpty !== wasEmpty) placeComments(parent);
  return true;
}

/**
 * Quotes a string that YAML 1.1 reads as a boolean or a timestamp, and one whose first line is blank: the yaml package loses the
 * indentation of the lines that follow.
 */
function createNode(value: Json): Node {
  const blockQuote = !/"(?: |\\t)*\\n/.test(JSON.stringify(value));
  const text = stringify({ value }, { compat: 'yaml-1.1', lineWidth: 0, blockQuote });
  const node = parseDocument(text, READING).get('value', true);
  if (!isNode(node)) throw new TypeError('a value has no node');
  return node;
}

function insertItem(list: YAMLSeq, index: number, node: Node): void {
  const [first] = list.items;
  // A comment above the first item is parsed as the list's own.
  if (index === 0 && isNode(first) && list.commentBefore) {
    first.commentBefore = joinComments(list.commentBefore, first.commentBefore);
    list.commentBefore = null;
  }
  list.items.splice(index, 0, node);
}

/** Keeps a comment that follows the value. In a list that is not indented, a comment of the next key or of the parent looks the same. */
function removeEntry(parent: YAMLMap | YAMLSeq, key: string): boolean {
  const index = isSeq(parent) ? Number(key) : parent.items.findIndex((pair) => String(pair.key) === key);
  const next: unknown = parent.items[index + 1];
  const following = isPair(next) ? next.key : next;
  const gone = parent.get(key, true);
  if (!parent.delete(key)) return false;
  if (!isCollection(gone) || !gone.comment) return true;
  if (isNode(following)) following.commentBefore = joinComments(gone.comment, following.commentBefore);
  else parent.comment = joinComments(gone.comment, parent.comment);
  return true;
}

function setEntry(parent: YAMLMap | YAMLSeq, key: string, node: Node): void {
  const before = parent.get(key, true);
  parent.set(key, node);
  if (!isNode(before)) return;
  Object.assign(node, { comment: before.comment, commentBefore: before.commentBefore });
  placeComments(node);
}

/** Places comments after a value of one line, and before a longer one. A list that was `[]` becomes a block. */
function placeComments(node: Node): void {
  const isOneLine = isScalar(node) || (isCollection(node) && node.items.length === 0);
  if (isCollection(node)) node.flow = isOneLine;
  const comment = joinComments(node.commentBefore, node.comment);
  node.comment = isOneLine ? comment : null;
  node.commentBefore = isOneLine ? null : comment;
}

function joinComments(...comments: (string | null | undefined)[]): string {
  return comments.filter(Boolean).join('\n');
}
