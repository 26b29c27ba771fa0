import {
  type Document,
  type DocumentOptions,
  isAlias,
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

/**
 * Gives a document another content and writes it again. Comments, order, quotes and plain values stay; white space may change.
 * @param document is changed
 * @param source its part of the stream
 * @param stream the whole text
 * @returns the edited text; or the offset in the stream of the value, or else the document, that cannot be changed in place
 */
export function editDocument(
  document: Document.Parsed,
  source: string,
  stream: string,
  before: Json,
  after: Json,
): string | number {
  const style = isJson(document, stream) ? JSON_STYLE : styleOf(source);
  const edit: Edit = { document, obstacles: [] };
  change(edit, document.contents, before, after);
  const written = edit.obstacles.length === 0 ? write(document, source, style) : undefined;
  if (written !== undefined && sameJson(contentOf(written), after)) return written;
  return edit.obstacles[0]?.range?.[0] ?? document.range[0];
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
    return source.includes('\r\n') ? text.replace(/\r?\n/g, '\r\n') : text;
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

/** The style of a text: its first line that is indented, and its first lists tell. */
function styleOf(text: string): ToStringOptions {
  const [, indent = '  '] = /^( +)[^\s#-]/m.exec(text) ?? [];
  const [, key = '', dash = '  '] = /^( *)[^\s#-].*:\n( *)- /m.exec(text) ?? [];
  const [, padding = ' '] = /: [[{]( ?)[^\s\]}]/.exec(text) ?? [];
  return {
    lineWidth: 0,
    indent: indent.length,
    indentSeq: dash.length > key.length,
    flowCollectionPadding: padding === ' ',
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

interface Edit {
  readonly document: Document;
  /** Values that cannot be changed in place. They stay as they are. */
  readonly obstacles: Node[];
}

/** Changes what differs in a node. @returns the node, or the one that takes its place */
function change(edit: Edit, node: unknown, before: Json | undefined, after: Json): unknown {
  if (sameJson(before, after)) return node;
  if (isMap(node) && isObject(before) && isObject(after)) return changeMap(edit, node, before, after);
  if (isSeq(node) && isArray(before) && isArray(after)) return changeList(edit, node, before, after);
  if (isAlias(node) || (isScalar(node) && isPlain(node) && isReadDifferently(node))) {
    edit.obstacles.push(node);
    return node;
  }
  const created = edit.document.createNode(after, { aliasDuplicateObjects: false });
  if (isScalar(node) && isScalar(created)) return replaceValue(node, created);
  return isNode(node) ? withComments(created, node) : created;
}

function changeMap(edit: Edit, map: YAMLMap, before: JsonObject, after: JsonObject): YAMLMap {
  for (const key of Object.keys(before).filter((one) => !Object.hasOwn(after, one))) {
    keepComments(map, map.get(key, true));
    map.delete(key);
  }
  if (map.items.length === 0) makeBlock(map);
  for (const [key, value] of Object.entries(after)) {
    const isNew = !Object.hasOwn(before, key);
    if (!isNew && sameJson(before[key], value)) continue;
    // A merge key gives the map a value that others share.
    if (!isNew && !map.has(key)) edit.obstacles.push(map);
    else map.set(edit.document.createNode(key), change(edit, map.get(key, true), before[key], value));
  }
  return map;
}

/** Named items are found by their name. Others are found by their place in a list of the same length, or else by their content. */
function changeList(edit: Edit, list: YAMLSeq, before: readonly Json[], after: readonly Json[]): YAMLSeq {
  if (list.items.length === 0) makeBlock(list);
  const isPaired = before.length === after.length;
  const keyOf = (item: Json, index: number): Json =>
    getIn(item, ['name']) ?? getIn(item, ['ip']) ?? (isPaired ? index : JSON.stringify(item));
  const former = list.items;
  const places = new Map<Json, number[]>();
  for (const [index, item] of before.entries()) {
    const key = keyOf(item, index);
    places.set(key, places.get(key) ?? []);
    places.get(key)?.push(index);
  }
  list.items = after.map((item, index) => {
    const found = places.get(keyOf(item, index))?.shift();
    if (found === undefined) return edit.document.createNode(item, { aliasDuplicateObjects: false });
    return change(edit, former[found], before[found], item);
  });
  const kept = new Set(list.items);
  for (const item of former) if (!kept.has(item)) keepComments(list, item);
  const [first] = former;
  // A comment before a list belongs to its first item.
  if (isNode(first) && kept.has(first) && list.items[0] !== first && list.commentBefore) {
    first.commentBefore = [list.commentBefore, first.commentBefore].filter(Boolean).join('\n');
    list.commentBefore = null;
  }
  return list;
}

/** `uninject` restores the value, and not its form. */
function isReadDifferently({ value, source }: Scalar & { source: string }): boolean {
  return typeof value === 'number' ? !SAFE_NUMBER.test(source) : typeof value === 'string' && isAmbiguous(source);
}

/** A comment at the end of what goes may be about what follows, or about the whole collection. */
function keepComments(parent: YAMLMap | YAMLSeq, gone: unknown): void {
  const comments: (string | null | undefined)[] = [parent.comment];
  for (let last: unknown = gone; isMap(last) || isSeq(last); ) {
    comments.push(last.comment);
    const item: unknown = last.items.at(-1);
    last = isPair(item) ? item.value : item;
  }
  const kept = comments.filter(Boolean).join('\n');
  if (kept !== '') parent.comment = kept;
}

/** The comment after an empty list precedes its items. */
function makeBlock(collection: YAMLMap | YAMLSeq): void {
  collection.flow = false;
  if (!collection.comment) return;
  collection.commentBefore = collection.comment;
  collection.comment = null;
}

function replaceValue(former: Scalar, { value }: Scalar): Scalar {
  former.value = value;
  delete former.source;
  if (former.type === 'PLAIN' || typeof value !== 'string') delete former.type;
  return former;
}

function withComments(node: Node, { comment, commentBefore, spaceBefore }: Node): Node {
  return Object.assign(node, { comment, commentBefore, spaceBefore });
}
