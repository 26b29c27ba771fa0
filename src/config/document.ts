import {
  Composer,
  type CST,
  type Document,
  type ErrorCode,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  Parser,
  visit,
  type YAMLMap,
} from 'yaml';
import { oncePer } from '../secrets/secret.ts';
import { createProblemList, type Locate, type Path, type Position, type ProblemList } from './config-node.ts';

/** A config file is about eight levels deep. The parser recurses, and thousands of levels would overflow the stack. */
const MAX_DEPTH = 100;

/** Most nodes that aliases add to one file. Nested aliases that grow exponentially exceed it at once. */
const MAX_ALIASED_NODES = 10_000;

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
  const aliases: Aliases = { anchors: new Map(), targets: new Map(), nodes: 0, added: 0 };
  const locate: Locate = (path, what) => positionOf(document, aliases.targets, lines, path, what);
  const problems = createProblemList(file, locate);
  const fail = (offset: number, message: string) => problems.errorAt(position(lines, offset), message);

  if (document === undefined) {
    fail(0, `nested more than ${MAX_DEPTH} levels deep: a config file needs about eight`);
    return { value: undefined, problems, locate };
  }
  const faults = faultsOf(document);
  const cause = causeOf(faults, text);
  if (cause !== undefined) {
    fail(cause.offset, cause.message);
    return { value: undefined, problems, locate };
  }
  // The library does not know the structure of the rest, so later errors may only follow from the first.
  const fault = faults[0] ?? (second && { code: 'MULTIPLE_DOCS' as const, offset: second.range[0] });
  if (fault !== undefined) {
    fail(fault.offset, syntaxMessage(fault.code, isInBrackets(document, fault.offset)));
    return { value: undefined, problems, locate };
  }
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    fail(0, `the file is empty: ${start}`);
    return { value: undefined, problems, locate };
  }
  const valid = checkNode(document.contents, aliases, fail);
  if (aliases.added > MAX_ALIASED_NODES) {
    fail(document.range[0], 'too many aliases ("*…"): write out their values');
    return { value: undefined, problems, locate };
  }
  return { value: valid ? document.toJS({ maxAliasCount: -1 }) : undefined, problems, locate };
}

/** Whether a place is within { } or [ ]. */
function isInBrackets(document: Document.Parsed, offset: number): boolean {
  let found = false;
  visit(document, {
    Collection(_key, { flow, range }) {
      found ||= flow === true && range != null && range[0] < offset && offset < range[2];
    },
  });
  return found;
}

type Fail = (offset: number, message: string) => void;

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

/** In the order of the text. Of several at one place, the most telling one comes first. */
function faultsOf({ errors, warnings }: Document.Parsed): Fault[] {
  // A value that goes on in the next line is the cause of a map within a line.
  const telling = ({ code }: Fault): number => (code === 'MULTILINE_IMPLICIT_KEY' ? 1 : 0);
  return [...errors, ...warnings]
    .map(({ code, pos }) => ({ code, offset: pos[0] }))
    .sort((a, b) => a.offset - b.offset || telling(b) - telling(a));
}

/** As in `listen:127.0.0.1:8180`, which is one word in YAML. A URL does not match. */
const GLUED_KEY = /[A-Za-z_][\w-]{0,99}:(?!\/\/)[^\s:]/y;
const VARIABLE = /\$\{[^\s{}]*\}/y;

/** Finds a tab in an indentation, or a variable in braces. The library reports several errors that only follow from it. */
function causeOf(faults: readonly Fault[], text: string): { offset: number; message: string } | undefined {
  for (const { code, offset } of faults) {
    const start = text.lastIndexOf('\n', offset - 1) + 1;
    const isIndentation = code === 'TAB_AS_INDENT' && text.slice(start, offset).trim() === '';
    if (isIndentation) return { offset: start, message: 'tab in the indentation: indent with spaces' };
  }
  const first = faults[0];
  if (first !== undefined && /^(?:MULTILINE_IMPLICIT_KEY|MISSING_CHAR)$/.test(first.code)) {
    GLUED_KEY.lastIndex = first.offset;
    if (GLUED_KEY.test(text)) return { offset: first.offset, message: 'missing space after the ":" of this key' };
  }
  VARIABLE.lastIndex = (first?.offset ?? 0) - 1;
  const offset = VARIABLE.lastIndex;
  return faults.length > 0 && VARIABLE.test(text) ? { offset, message: VARIABLE_IN_BRACES } : undefined;
}

/** The library searches the whole file for the anchor of each alias, which takes minutes with ten thousand. */
interface Aliases {
  readonly anchors: Map<string, { readonly node: Node; readonly nodes: number }>;
  readonly targets: Map<unknown, Node>;
  /** Number of nodes so far, with those that aliases stand for. */
  nodes: number;
  /** Those of aliases alone. */
  added: number;
}

/** Finds what YAML allows and a config file does not: duplicate keys and unknown aliases. An alias within its own anchor is unknown. */
function checkNode(node: unknown, aliases: Aliases, fail: Fail): boolean {
  const before = aliases.nodes;
  aliases.nodes += 1;
  if (isAlias(node)) {
    const anchor = aliases.anchors.get(node.source);
    if (anchor === undefined) {
      fail(node.range?.[0] ?? 0, 'unknown alias ("*…"): define its anchor first, or put the value in quotes');
      return false;
    }
    aliases.targets.set(node, anchor.node);
    aliases.nodes += anchor.nodes;
    aliases.added += anchor.nodes;
    return true;
  }
  const valid = isMap(node)
    ? checkMap(node, aliases, fail)
    : !isSeq(node) || node.items.map((item) => checkNode(item, aliases, fail)).every(Boolean);
  if (isNode(node) && node.anchor !== undefined) {
    aliases.anchors.set(node.anchor, { node, nodes: aliases.nodes - before });
  }
  return valid;
}

function checkMap(map: YAMLMap, aliases: Aliases, fail: Fail): boolean {
  let valid = true;
  const seen = new Set<string>();
  for (const { key, value } of map.items) {
    const name = isScalar(key) ? String(key.value) : undefined;
    const offset = isScalar(key) ? (key.range?.[0] ?? 0) : 0;
    if (name === undefined || name === '__proto__') {
      fail(offset, 'invalid key: write a plain word');
      valid = false;
    } else if (seen.has(name)) {
      fail(offset, 'duplicate key in this map: remove one');
      valid = false;
    } else {
      seen.add(name);
    }
    valid = [key, value].map((each) => checkNode(each, aliases, fail)).every(Boolean) && valid;
  }
  return valid;
}

function positionOf(
  document: Document.Parsed | undefined,
  targets: Aliases['targets'],
  lines: LineCounter,
  path: Path,
  what: 'key' | 'value',
) {
  let node: unknown = document?.contents;
  let offset = isMap(node) || isSeq(node) ? (node.range?.[0] ?? 0) : 0;
  for (const [index, segment] of path.entries()) {
    if (isAlias(node)) node = targets.get(node);
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
    const range = isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range : undefined;
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
    'this text continues on the next line, which contains a key: indent that key like the other keys of its map, or add the missing ":" here',
  BLOCK_IN_FLOW: 'indented keys and "-" are not allowed within { } or [ ]: use one style',
  BAD_SCALAR_START: 'a value cannot start with this character: put it in quotes',
  BAD_DQ_ESCAPE: 'invalid escape sequence: double the backslash, or use single quotes',
  NON_STRING_KEY: 'a key cannot be a list or a map: write a plain word',
  MULTIPLE_DOCS: 'second document in the file: remove "---" and everything after it',
  TAG_RESOLVE_FAILED: 'unknown tag ("!…"): remove it',
  BAD_ALIAS: 'malformed alias ("*…"): put the value in quotes if it is plain text',
  BAD_DIRECTIVE: 'unknown directive ("%…"): remove it',
  UNEXPECTED_TOKEN: 'unexpected character: check the brackets, quotes and indentation around it',
  RESOURCE_EXHAUSTION: 'nested too deeply for a config file',
};

const VARIABLE_IN_BRACES =
  'variable in braces: cambist replaces no variables, and within { } or [ ] this is not valid YAML: after "env", ' +
  'write the bare name, as in { env: NAME }; put any other value in quotes';

/** @param inBrackets whether the error is within { } or [ ], as all errors in JSON are */
function syntaxMessage(code: ErrorCode, inBrackets = false): string {
  if (inBrackets && code === 'MULTILINE_IMPLICIT_KEY') return 'missing comma or closing quote after this value';
  return MESSAGES[code] ?? 'not valid YAML or JSON: check the brackets, quotes and indentation around it';
}
