import {
  Composer,
  type CST,
  type Document,
  type ErrorCode,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  type YAMLMap,
} from 'yaml';
import { oncePer } from '../secrets/secret.ts';
import { createProblemList, type Locate, type Path, type Position, type ProblemList } from './config-node.ts';

/** A config file is about eight levels deep. Near an overflow of the stack, a regular expression would end the process. */
const MAX_DEPTH = 100;

/** Most nodes that the aliases of one file stand for. Nested aliases that grow exponentially exceed it at once. */
const MAX_ALIASED_NODES = 10_000;

/** So many characters of a text count as a further node: checks copy texts, and messages quote them. */
const NODE_LENGTH = 100;

export interface ConfigDocument {
  readonly value: unknown;
  readonly problems: ProblemList;
  /** Finds positions for further problems. */
  readonly locate: Locate;
}

/** Reads YAML 1.2, which includes JSON. Never throws. @param start how to begin a file that is empty */
export function readDocument(text: string, file: string, start = 'start from config/cambist.yaml'): ConfigDocument {
  const lines = new LineCounter();
  const [document, second] = compose(text, lines);
  const locate: Locate = (path, what) => positionOf(document, lines, path, what);
  const problems = createProblemList(file, locate);
  const fail = (offset: number, message: string) => problems.errorAt(position(lines, offset), message);
  if (document === undefined) {
    fail(0, `nested more than ${MAX_DEPTH} levels deep: a config file needs about eight`);
    return { value: undefined, problems, locate };
  }
  const fault = firstFault(document) ?? (second && { code: 'MULTIPLE_DOCS' as const, offset: second.range[0] });
  if (fault !== undefined) {
    fail(fault.offset, syntaxMessage(fault, text));
  } else if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    fail(0, `the file is empty: ${start}`);
  } else if (isPlain(document, fail)) {
    return { value: document.toJS({ maxAliasCount: -1 }), problems, locate };
  }
  return { value: undefined, problems, locate };
}

/** Parses the documents of a text. Returns none if the text is nested too deeply. */
function compose(text: string, lines: LineCounter): Document.Parsed[] {
  lines.addNewLine(0);
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  for (const lexeme of new Lexer().lex(text)) {
    tokens.push(...parser.next(lexeme));
    if (parser.stack.length > MAX_DEPTH) return [];
  }
  tokens.push(...parser.end());
  // The check below is linear. The library's `uniqueKeys` compares each key of a map with all others.
  const composer = new Composer({
    version: '1.2',
    schema: 'core',
    resolveKnownTags: false,
    stringKeys: true,
    uniqueKeys: false,
    prettyErrors: false,
  });
  return [...composer.compose(tokens, true, text.length)];
}

interface Fault {
  readonly code: ErrorCode;
  readonly offset: number;
}

/** The library does not know the structure of the rest, so later errors may only follow from the first. */
function firstFault({ errors, warnings }: Document): Fault | undefined {
  // A tab causes others, and a value that goes on in the next line those at its place.
  const isCause = ({ code }: Fault) => Number(code === 'MULTILINE_IMPLICIT_KEY');
  const faults = [...errors, ...warnings].map(({ code, pos }) => ({ code, offset: pos[0] }));
  const [first] = faults.toSorted((a, b) => a.offset - b.offset || isCause(b) - isCause(a));
  return faults.find(({ code }) => code === 'TAB_AS_INDENT') ?? first;
}

/** Reports what YAML allows and a config file does not: duplicate keys, unknown aliases, and too many. */
function isPlain({ contents }: Document, fail: (offset: number, message: string) => void): boolean {
  let isPlain = true;
  let aliased = 0;
  /** Nodes of each anchor, with those that aliases in it stand for. */
  const sizes = new Map<string, number>();

  function refuse(node: unknown, message: string): void {
    fail(isNode(node) ? (node.range?.[0] ?? 0) : 0, message);
    isPlain = false;
  }

  function checkKeys({ items }: YAMLMap): void {
    const seen = new Set<string>();
    for (const { key } of items) {
      const name = isScalar(key) ? String(key.value) : '__proto__';
      if (name === '__proto__') refuse(key, 'invalid key: write a plain word');
      else if (seen.has(name)) refuse(key, 'duplicate key in this map: remove one');
      seen.add(name);
    }
  }

  function sizeOf(node: unknown): number {
    if (isAlias(node)) {
      const size = sizes.get(node.source);
      // An anchor counts after its node, so an alias within its own anchor is unknown.
      if (size === undefined) refuse(node, 'unknown alias ("*…"): define its anchor first, or put the value in quotes');
      aliased += size ?? 0;
      return size ?? 1;
    }
    if (isMap(node)) checkKeys(node);
    let size = 1 + lengthOf(node);
    if (isMap(node)) for (const { key, value } of node.items) size += lengthOf(key) + sizeOf(value);
    if (isSeq(node)) for (const item of node.items) size += sizeOf(item);
    if (isNode(node) && node.anchor !== undefined) sizes.set(node.anchor, size);
    return size;
  }

  sizeOf(contents);
  if (aliased > MAX_ALIASED_NODES) refuse(contents, 'too many aliases ("*…"): write out their values');
  return isPlain;
}

/** The length of a text, in nodes. */
function lengthOf(node: unknown): number {
  return isScalar(node) ? Math.floor(String(node.value).length / NODE_LENGTH) : 0;
}

function positionOf(document: Document | undefined, lines: LineCounter, path: Path, what: 'key' | 'value') {
  let node: unknown = document?.contents;
  let offset = isCollection(node) ? (node.range?.[0] ?? 0) : 0;
  for (const [index, segment] of path.entries()) {
    let keyOffset = offset;
    if (isSeq(node)) {
      node = node.items[Number(segment)];
    } else if (isMap(node)) {
      const pair = pairsOf(node).get(String(segment));
      if (pair === undefined) break;
      keyOffset = isScalar(pair.key) ? (pair.key.range?.[0] ?? offset) : offset;
      node = pair.value;
    } else {
      break;
    }
    const range = isNode(node) ? node.range : undefined;
    const written = range !== undefined && range !== null && range[1] > range[0];
    const wantsKey = what === 'key' && index === path.length - 1;
    offset = written && !wantsKey ? range[0] : keyOffset;
  }
  return position(lines, offset);
}

/** The pairs of a map by key. Built once for each map, because a file may have as many problems as keys. */
const pairsOf = oncePer(
  (map: YAMLMap) => new Map(map.items.map((pair) => [isScalar(pair.key) ? String(pair.key.value) : '', pair])),
);

function position(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

/** Messages for syntax errors. The library's own messages quote the source, which may contain a secret. */
const MESSAGES: Partial<Record<ErrorCode, string>> = {
  BAD_INDENT:
    'wrong indentation, or a bracket that is not closed: keys of one map start in the same column, and their values are indented further',
  MISSING_CHAR: 'missing bracket, quote, comma or space here or just before, or wrong indentation',
  BLOCK_AS_IMPLICIT_KEY:
    'a map cannot start within a line: put a value that contains ": " in quotes, or start the map on its own line',
  MULTILINE_IMPLICIT_KEY:
    'this text continues on the next line, which contains a key: add the missing ":", comma or quote here, or indent that key like the other keys of its map',
  BLOCK_IN_FLOW: 'indented keys and "-" are not allowed within { } or [ ]: use one style',
  BAD_SCALAR_START: 'a value cannot start with this character: put it in quotes',
  BAD_DQ_ESCAPE: 'invalid escape sequence: double the backslash, or use single quotes',
  NON_STRING_KEY: 'a key cannot be a list or a map: write a plain word',
  MULTIPLE_DOCS: 'second document in the file: remove "---" and everything after it',
  TAG_RESOLVE_FAILED: 'unknown tag ("!…"): remove it',
  BAD_ALIAS: 'malformed alias ("*…"): put the value in quotes if it is plain text',
  BAD_DIRECTIVE: 'unknown directive ("%…"): remove it',
  TAB_AS_INDENT: 'tab in place of spaces: indent with spaces',
  UNEXPECTED_TOKEN: 'unexpected character: check the brackets, quotes and indentation around it',
};

/** Causes that the text shows better than the code. */
const CAUSES: readonly (readonly [form: RegExp, message: string])[] = [
  [
    /^.?\$\{[^\s{}]*\}/s,
    'variable in braces: cambist replaces no variables, and within { } or [ ] this is not valid YAML: after "env", ' +
      'write the bare name, as in { env: NAME }; put any other value in quotes',
  ],
  // As in `listen:127.0.0.1:8180`, which is one word in YAML. A URL does not match.
  [/^.?[A-Za-z_][\w-]{0,99}:(?!\/\/)[^\s:]/s, 'missing space after the ":" of this key'],
];

function syntaxMessage({ code, offset }: Fault, text: string): string {
  const excerpt = text.slice(Math.max(0, offset - 1), offset + 200);
  const cause = CAUSES.find(([form]) => form.test(excerpt));
  return cause?.[1] ?? MESSAGES[code] ?? 'not valid YAML or JSON: check the brackets, quotes and indentation around it';
}
