import {
  Composer,
  type CST,
  type Document,
  type ErrorCode,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Pair,
  Parser,
  type YAMLMap,
} from 'yaml';
import { createProblemList, type Path, type Position, type ProblemList } from './config-node.ts';
import { syntaxMessage } from './syntax-messages.ts';
import { findRepair, type Repair, type SyntaxFault } from './syntax-repair.ts';

/** A config file holds maps some eight deep. The parser recurses, and a few thousand levels would end the process. */
const MAX_DEPTH = 100;

/** How often aliases may repeat what they stand for, all told; a bomb of nested aliases is beyond it at once. */
const MAX_ALIASES = 10_000;

export interface ConfigDocument {
  /** What the file says, in plain objects; undefined where it is not YAML or JSON, and `problems` says why. */
  readonly value: unknown;
  readonly problems: ProblemList;
  /** Given where the text has a syntax error that can be worked around. It is not among the problems. */
  readonly repair?: Repair & { readonly position: Position };
}

/** Reads YAML 1.2, and so JSON. Never throws. */
export function readDocument(text: string, file: string): ConfigDocument {
  const lines = new LineCounter();
  const [document, second] = compose(text, lines);
  const problems = createProblemList(file, (path, what) => positionOf(document, lines, path, what));
  const fail = (offset: number, message: string) => problems.errorAt(position(lines, offset), message);

  if (document === undefined) {
    fail(0, `nested more than ${MAX_DEPTH} levels deep: a config file needs a tenth of it`);
    return { value: undefined, problems };
  }
  const faults = faultsOf(document);
  const repair = findRepair(text, faults);
  if (repair !== undefined) {
    return { value: undefined, problems, repair: { ...repair, position: position(lines, repair.offset) } };
  }
  for (const { code, offset } of independent(faults)) fail(offset, syntaxMessage(code));
  if (second !== undefined) fail(second.range[0], syntaxMessage('MULTIPLE_DOCS'));
  if (faults.length > 0 || second !== undefined) return { value: undefined, problems };
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
    fail(0, 'the file is empty: see config/cambist.yaml for one to begin with');
    return { value: undefined, problems };
  }
  const sound = checkNode(document.contents, document, fail);
  return { value: sound ? toValue(document, fail) : undefined, problems };
}

type Fail = (offset: number, message: string) => void;

/** The documents of a text; none where it is nested too deeply. */
function compose(text: string, lines: LineCounter): Document.Parsed[] {
  lines.addNewLine(0);
  const parser = new Parser(lines.addNewLine);
  const tokens: CST.Token[] = [];
  for (const lexeme of new Lexer().lex(text)) {
    tokens.push(...parser.next(lexeme));
    if (parser.stack.length > MAX_DEPTH) return [];
  }
  tokens.push(...parser.end());
  // Our own check of keys is linear and can name the key; the library's compares each key of a map with all others.
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

interface Fault extends SyntaxFault {
  readonly code: ErrorCode;
}

/** Errors of a single value or key. The library reads on correctly after them. */
const LOCAL: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'BAD_ALIAS',
  'BAD_DIRECTIVE',
  'BAD_DQ_ESCAPE',
  'BAD_SCALAR_START',
  'NON_STRING_KEY',
  'TAG_RESOLVE_FAILED',
]);

/** In the order of the text. Of several at one place, the most telling one comes first. */
function faultsOf({ errors, warnings }: Document.Parsed): Fault[] {
  return [...errors, ...warnings]
    .map(({ code, pos }) => ({ code, offset: pos[0] }))
    .sort((a, b) => a.offset - b.offset || telling(b) - telling(a));
}

/** A value that goes on in the next line is the cause of a map within a line. */
function telling({ code }: Fault): number {
  return code === 'MULTILINE_IMPLICIT_KEY' ? 1 : 0;
}

/** The errors up to the first that leaves the structure of the rest unknown. Later ones only follow from it. */
function independent(faults: readonly Fault[]): readonly Fault[] {
  const first = faults.findIndex(({ code }) => !LOCAL.has(code));
  return first === -1 ? faults : faults.slice(0, first + 1);
}

/** Finds what the syntax allows and a config file does not: keys that come twice, aliases of nothing. */
function checkNode(node: unknown, document: Document.Parsed, fail: Fail): boolean {
  if (isAlias(node)) {
    if (node.resolve(document) !== undefined) return true;
    fail(node.range?.[0] ?? 0, 'an alias ("*…") of nothing: put the value in quotes if none is meant');
    return false;
  }
  if (isSeq(node)) return node.items.map((item) => checkNode(item, document, fail)).every(Boolean);
  if (!isMap(node)) return true;
  let sound = true;
  const seen = new Set<string>();
  for (const { key, value } of node.items) {
    const name = isScalar(key) ? String(key.value) : undefined;
    const offset = isScalar(key) ? (key.range?.[0] ?? 0) : 0;
    if (name === undefined || name === '__proto__') {
      fail(offset, 'this cannot be a key: write a plain word');
      sound = false;
    } else if (seen.has(name)) {
      fail(offset, 'this key comes twice in its map: remove one');
      sound = false;
    } else {
      seen.add(name);
    }
    sound = checkNode(value, document, fail) && sound;
  }
  return sound;
}

function toValue(document: Document.Parsed, fail: Fail): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch {
    fail(document.range[0], 'too many aliases ("*…"): write out what they stand for');
    return undefined;
  }
}

function positionOf(document: Document.Parsed | undefined, lines: LineCounter, path: Path, what: 'key' | 'value') {
  let node: unknown = document?.contents;
  let offset = isMap(node) || isSeq(node) ? (node.range?.[0] ?? 0) : 0;
  for (const [index, segment] of path.entries()) {
    if (document !== undefined && isAlias(node)) node = node.resolve(document);
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

const pairs = new WeakMap<YAMLMap, Map<string, Pair>>();

/** The pairs of a map by key; made once a map, since a file may have as many problems as keys. */
function pairsOf(map: YAMLMap): Map<string, Pair> {
  let found = pairs.get(map);
  if (found === undefined) {
    found = new Map(map.items.map((pair) => [isScalar(pair.key) ? String(pair.key.value) : '', pair]));
    pairs.set(map, found);
  }
  return found;
}

function position(lines: LineCounter, offset: number): Position {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}
