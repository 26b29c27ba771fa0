import {
  type Document,
  type DocumentOptions,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type ParseOptions,
  parseDocument,
  type Scalar,
  type ScalarTag,
  type SchemaOptions,
  type ToStringOptions,
  visit,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import { getIn, isArray, isObject, type Json, type JsonObject, sameJson } from './json.ts';
import { fromPointer, type PatchOperation } from './json-patch.ts';

/** More aliases than any manifest has, and fewer than it takes to exhaust the memory. */
export const MAX_ALIASES = 1000;

/** Numbers of YAML 1.1, of YAML 1.2, and of Go: 0X1F, 0o1_7, +1_0, .5, 1:30. */
const NUMBER = /^[-+]?[._]*(?:\d[\d_]*(?:\.[\d_]*)?(?:e[-+]?\d*)?|0_*[xob][\da-f_]*|\d[\d_]*(?::\d+)+(?:\.\d*)?)$/i;
const OTHER_TYPE =
  /^(?:\d{4}-\d[-\d:.tz+ \t]*|[-+]?\.?(?:inf|infinity|nan)|y|yes|n|no|on|off|true|false|null|~|<<|=|)$/i;

/** Does some reader of YAML take the text for a number, a timestamp, a boolean, null or a merge key unless it is quoted? */
function isAmbiguous(text: string): boolean {
  return NUMBER.test(text) || OTHER_TYPE.test(text);
}

/** Numbers that all readers of YAML read alike. */
const SAFE_NUMBER = /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?|0x[\da-f]+)$/i;

/**
 * The characters that end a line for kubectl alone. After one, the text of a comment is content.
 * @see https://yaml.org/spec/1.1/#id871136
 */
export function oddBreaks(text: string): RegExpExecArray[] {
  return [...text.matchAll(ODD_BREAK)];
}

const ODD_BREAK = /[\u0085\u2028\u2029]|\r(?!\n)/g;

/** The text of a plain scalar. Written as it was read, it means the same to every reader. */
class Verbatim extends String {}

const VERBATIM: ScalarTag = {
  tag: 'tag:cambist.dev,2026:verbatim',
  default: true,
  // Resolves nothing that is read.
  test: /(?!)/,
  identify: (value) => value instanceof Verbatim,
  resolve: (text) => text,
  stringify: ({ value }) => String(value),
};

/** Reads YAML 1.1 with merge keys, as kubectl does. A timestamp is a string, because JSON has no type for it. */
export const READING = {
  version: '1.1',
  schema: 'core',
  merge: true,
  uniqueKeys: true,
  logLevel: 'error',
  customTags: (tags) => [...tags, VERBATIM],
} as const satisfies ParseOptions & SchemaOptions & DocumentOptions;

export const BYTE_ORDER_MARK = '\uFEFF';

/**
 * Applies operations to a document and writes it again. Comments, order, quotes and plain values stay; white space may change.
 * @param document is changed
 * @param source its part of the stream
 * @param stream the whole text
 * @param expected the content of the document after the operations
 * @returns the edited text; or the offset in the stream of the value that cannot be changed in place
 */
export function editDocument(
  document: Document.Parsed,
  source: string,
  stream: string,
  operations: readonly PatchOperation[],
  expected: Json,
): string | number {
  const style = isJson(document, stream) ? JSON_STYLE : styleOf(document, stream);
  for (const operation of operations) {
    const obstacle = applyOperation(document, operation);
    if (obstacle !== undefined) return offsetOf(obstacle, document.range[0]);
  }
  const written = write(document, source, style);
  const content = written === undefined ? undefined : contentOf(written);
  if (written !== undefined && sameJson(content, expected)) return written;
  return offsetOf(lastOn(document, differingPath(content, expected)), document.range[0]);
}

/** Is the value of a document an object in JSON? */
function isJson({ contents }: Document, text: string): boolean {
  const [start, end] = contents?.range ?? [0, 0];
  if (text[start] !== '{') return false;
  try {
    JSON.parse(text.slice(start, end));
    return true;
  } catch {
    return false;
  }
}

/** @returns undefined if an alias has lost its anchor */
function write(document: Document.Parsed, source: string, style: ToStringOptions): string | undefined {
  const inJson = style === JSON_STYLE;
  visit(document, {
    Seq(_, node) {
      // The yaml package gives `[]` after a comment the indentation of its key.
      if (node.items.length === 0) node.flow = true;
    },
    Scalar(key, node) {
      if (inJson && (typeof node.value === 'string' || key === 'key')) node.type = 'QUOTE_DOUBLE';
      else if (inJson && node.source === undefined) return;
      // A path leads through keys.
      else if (key === 'key' && typeof node.value === 'string' && !isAmbiguous(node.value)) return;
      else if (isPlain(node) && node.tag === undefined) node.value = new Verbatim(node.source);
      else if (typeof node.value !== 'string') return;
      else if (node.type === undefined && isAmbiguous(node.value)) node.type = 'QUOTE_DOUBLE';
      // The yaml package loses the indentation of the lines that follow.
      else if (/^[ \t]*\n/.test(node.value)) node.type = 'QUOTE_DOUBLE';
    },
  });
  try {
    const text = escaped(document.toString(style));
    const mark = source.startsWith(BYTE_ORDER_MARK) && !text.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : '';
    return mark + (source.includes('\r\n') ? text.replace(/\r?\n/g, '\r\n') : text);
  } catch {
    return undefined;
  }
}

/** The yaml package writes such a character of a string without an escape. */
function escaped(text: string): string {
  return oddBreaks(text).reduceRight((rest, { 0: character, index }) => {
    const code = character.charCodeAt(0).toString(16).padStart(4, '0');
    return `${rest.slice(0, index)}\\u${code}${rest.slice(index + 1)}`;
  }, text);
}

const JSON_STYLE: ToStringOptions = { lineWidth: 0, collectionStyle: 'flow', nullStr: 'null' };

function isPlain(node: Scalar): node is Scalar & { source: string } {
  return node.type === 'PLAIN' && node.source !== undefined;
}

/** The style of a document: its first nested map, and its first lists in block style and in brackets tell. */
function styleOf(document: Document, text: string): ToStringOptions {
  let indent: number | undefined;
  let indentSeq: boolean | undefined;
  let flowCollectionPadding: boolean | undefined;
  const columnOf = (offset: number): number => offset - text.lastIndexOf('\n', offset - 1) - 1;
  visit(document, {
    Seq(_, { flow, items, range }) {
      if (flow && items.length > 0 && range) flowCollectionPadding ??= text[range[0] + 1] === ' ';
    },
    Pair(_, { key, value }) {
      if (!isNode(key) || !(isMap(value) || isSeq(value)) || value.flow || !key.range || !value.range) return undefined;
      const depth = columnOf(value.range[0]) - columnOf(key.range[0]);
      if (isSeq(value)) indentSeq ??= depth > 0;
      else if (depth > 0) indent ??= depth;
      return undefined;
    },
  });
  return {
    lineWidth: 0,
    indent: indent ?? 2,
    indentSeq: indentSeq ?? true,
    flowCollectionPadding: flowCollectionPadding ?? true,
  };
}

/** @returns undefined if the text is invalid, or an alias is unknown or expands to too much */
function contentOf(text: string): Json | undefined {
  try {
    const document = parseDocument(text, READING);
    return document.errors.length === 0 ? (document.toJS({ maxAliasCount: MAX_ALIASES }) as Json) : undefined;
  } catch {
    return undefined;
  }
}

/** @returns the value that cannot be changed: the path leads through an alias, or readers of YAML differ on the former value */
function applyOperation(document: Document, operation: PatchOperation): unknown {
  const path = fromPointer(operation.path);
  const key = path.at(-1) ?? '';
  const parent = document.getIn(path.slice(0, -1), true);
  if (!isMap(parent) && !isSeq(parent)) return lastOn(document, path);
  const former = parent.get(key, true);
  if (isScalar(former) && isPlain(former) && isReadDifferently(former)) return former;
  if (operation.op === 'remove') return remove(parent, key) ? undefined : parent;
  const node = document.createNode(operation.value, { aliasDuplicateObjects: false });
  if (parent.items.length === 0) makeBlock(parent);
  if (isSeq(parent) && operation.op === 'add') insert(parent, Number(key), node);
  else if (isScalar(former) && isScalar(node)) replaceValue(former, node);
  else parent.set(isMap(parent) ? document.createNode(key) : key, isNode(former) ? withComments(node, former) : node);
  return undefined;
}

/** `uninject` restores the value, and not its form. */
function isReadDifferently({ value, source }: Scalar & { source: string }): boolean {
  return typeof value === 'number' ? !SAFE_NUMBER.test(source) : typeof value === 'string' && isAmbiguous(source);
}

/** A comment at the end of what goes may be about what follows, or about the whole collection. */
function remove(parent: YAMLMap | YAMLSeq, key: string): boolean {
  const comments: (string | null | undefined)[] = [parent.comment];
  for (let last: unknown = parent.get(key, true); isMap(last) || isSeq(last); ) {
    comments.push(last.comment);
    const item: unknown = last.items.at(-1);
    last = isPair(item) ? item.value : item;
  }
  const kept = comments.filter(Boolean).join('\n');
  if (kept !== '') parent.comment = kept;
  return parent.delete(key);
}

/** The comment after an empty list precedes its items. */
function makeBlock(collection: YAMLMap | YAMLSeq): void {
  collection.flow = false;
  if (!collection.comment) return;
  collection.commentBefore = collection.comment;
  collection.comment = null;
}

/** A comment before a list belongs to its first item. */
function insert(list: YAMLSeq, index: number, node: Node): void {
  const [first] = list.items;
  if (index === 0 && isNode(first) && list.commentBefore) {
    first.commentBefore = [list.commentBefore, first.commentBefore].filter(Boolean).join('\n');
    list.commentBefore = null;
  }
  list.items.splice(index, 0, node);
}

function replaceValue(former: Scalar, { value }: Scalar): void {
  former.value = value;
  delete former.source;
  if (former.type === 'PLAIN' || typeof value !== 'string') delete former.type;
}

function withComments(node: Node, { comment, commentBefore, spaceBefore }: Node): Node {
  return Object.assign(node, { comment, commentBefore, spaceBefore });
}

function offsetOf(node: unknown, otherwise: number): number {
  return (isNode(node) && node.range?.[0]) || otherwise;
}

function differingPath(left: Json | undefined, right: Json | undefined): string[] {
  if (!isObjectOrArray(left) || !isObjectOrArray(right)) return [];
  const keys = [...Object.keys(right), ...Object.keys(left)];
  const key = keys.find((one) => !sameJson(getIn(left, [one]), getIn(right, [one])));
  return key === undefined ? [] : [key, ...differingPath(getIn(left, [key]), getIn(right, [key]))];
}

function isObjectOrArray(value: Json | undefined): value is JsonObject | readonly Json[] {
  return isObject(value) || isArray(value);
}

/** The last value on a path that the text has. */
function lastOn(document: Document, path: readonly string[]): unknown {
  const found = [...path, ''].map((_, index) => document.getIn(path.slice(0, index), true));
  return found.findLast((node) => isNode(node) && node.range);
}
