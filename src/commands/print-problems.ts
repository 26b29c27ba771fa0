import { type Config, jsonSchema } from '../config/config.ts';
import { formatProblem, type Problem } from '../config/config-node.ts';
import { type LoadOptions, loadConfig } from '../config/load.ts';
import { printable } from '../observability/printable.ts';

const COLOURS = { error: 31, warning: 33 } as const;
const DIM = 2;

/** Tells whether to colour the output of a stream (https://no-color.org). */
export function showsColour({ isTTY }: { readonly isTTY?: boolean }): boolean {
  return isTTY === true && (process.env.NO_COLOR ?? '') === '' && process.env.TERM !== 'dumb';
}

/**
 * Formats a problem, followed by its source line with a caret. Values in the line are masked unless they cannot be secret.
 */
export function describeProblem(problem: Problem, text: string, colour: boolean): string {
  const paint = (part: string, code: number) => (colour ? `\x1b[${code}m${part}\x1b[0m` : part);
  const { severity, line, column } = problem;
  const sentence = printable(formatProblem(problem).replaceAll('\n', ' '));
  const source = line === 0 ? undefined : text.split(/\r?\n/)[line - 1];
  const excerpt = source === undefined ? undefined : excerptOf(source, column, problem);
  if (excerpt === undefined) return sentence;
  const number = `${line}`;
  const gutter = paint(`  ${' '.repeat(number.length)} | `, DIM);
  return [
    sentence,
    `${paint(`  ${number} | `, DIM)}${printable(excerpt.text.replaceAll('\t', ' '))}`,
    `${gutter}${' '.repeat(excerpt.column - 1)}${paint('^', COLOURS[severity])}`,
  ].join('\n');
}

/** Prints problems on standard error. @param text the text of the file */
export function printProblems(problems: readonly Problem[], text: string): void {
  const colour = showsColour(process.stderr);
  for (const problem of problems) console.error(describeProblem(problem, text, colour));
}

/** Loads a config file. Prints its problems if it is invalid. @returns undefined if it is invalid */
export async function loadOrReport(
  file: string,
  options: LoadOptions = {},
): Promise<{ config: Config; problems: readonly Problem[] } | undefined> {
  const { config, problems, text } = await loadConfig(file, options);
  if (config !== undefined) return { config, problems };
  printProblems(problems, text);
  return undefined;
}

/** Replaces everything that may be a secret. */
const MASK = '…';

/** Splits a line of YAML or JSON. A piece of a plain scalar that contains punctuation is masked on its own. */
const TOKEN =
  /(?<space>\s+)|(?<comment>#.*)|(?<quoted>"(?:\\.|[^"\\])*(?:"|$)|'(?:''|[^'])*(?:'|$))|(?<mark>[{}[\],:]|-(?=\s|$))|(?<plain>(?:[^\s{}[\],:#"']|:(?=\S)|(?<=\S)[#"'])+(?: +(?:[^\s{}[\],:#"']|:(?=\S))+)*)/gy;

/** Values that cannot be secret under a known key: numbers, durations, short words, URLs without a user and query, paths. */
const PLAIN_VALUE =
  /^(?:-?\d{1,7}(?:\.\d+)?[A-Za-z]{0,3}|[A-Za-z_-]{1,20}|[a-z]{2,6}:\/\/[A-Za-z0-9./_*-]{1,100}|\/[A-Za-z0-9./_*-]{0,100})$/;

/** Longer runs without punctuation may be part of a token. */
const TOKEN_LIKE = /[A-Za-z0-9_]{20,}/;

/** A hand-written line is shorter. */
const MAX_LINE_LENGTH = 1000;
/** Maximum length of the shown text, about the width of a terminal. */
const MAX_SHOWN_LENGTH = 100;

let knownKeys: ReturnType<typeof keysIn> | undefined;

/**
 * Masks all values in a line of a config file, except for those that cannot be secret.
 * @param column of the problem, 1-based
 * @param told path and message of the problem; an unknown key is shown if they contain it
 * @returns the line and the column that the caret points to; undefined if the line has no key that can be shown
 */
export function excerptOf(line: string, column: number, told: Pick<Problem, 'path' | 'message'>) {
  if (line.length > MAX_LINE_LENGTH) return undefined;
  knownKeys ??= keysIn(jsonSchema());
  const known = knownKeys;
  let text = '';
  let caret: number | undefined;
  let key: string | undefined;
  let hasKey = false;
  TOKEN.lastIndex = 0;
  for (let match = TOKEN.exec(line); match !== null; match = TOKEN.exec(line)) {
    const [token] = match;
    const { space, comment, mark } = match.groups ?? {};
    if (comment !== undefined) break;
    if (caret === undefined && match.index + token.length >= column) caret = text.length + 1;
    if (space !== undefined) {
      text += token.replace(/\t/g, ' ');
    } else if (mark !== undefined) {
      text += token;
    } else if (/^\s*:(?:\s|$)/.test(line.slice(TOKEN.lastIndex))) {
      key = unquoted(token);
      const isShown = known.all.has(key) || isTold(key, told);
      hasKey ||= isShown;
      text += isShown ? token : MASK;
    } else {
      const isPlain =
        key !== undefined && known.all.has(key) && !known.secret.has(key) && isPlainValue(unquoted(token));
      text += isPlain ? token : MASK;
    }
  }
  return hasKey ? clipped(text.trimEnd(), caret ?? text.trimEnd().length + 1) : undefined;
}

function isTold(key: string, { path, message }: Pick<Problem, 'path' | 'message'>): boolean {
  return path.split(/[.[\]]+/).includes(key) || message.includes(`unknown key "${key}"`);
}

/** Cuts a long text to the part around the caret. */
function clipped(text: string, column: number) {
  if (text.length <= MAX_SHOWN_LENGTH) return { text, column };
  const start = Math.max(0, Math.min(column - MAX_SHOWN_LENGTH / 2, text.length - MAX_SHOWN_LENGTH));
  const part = text.slice(start, start + MAX_SHOWN_LENGTH);
  return start === 0 ? { text: part, column } : { text: `${MASK}${part}`, column: column - start + MASK.length };
}

function isPlainValue(value: string): boolean {
  return PLAIN_VALUE.test(value) && !TOKEN_LIKE.test(value);
}

function unquoted(token: string): string {
  return token.replace(/^(["'])(.*)\1$/, '$2');
}

interface SchemaPart {
  readonly properties?: { readonly [key: string]: SchemaPart; readonly file?: SchemaPart };
  readonly anyOf?: readonly SchemaPart[];
  readonly items?: SchemaPart;
}

/**
 * @returns all keys, and the secret ones, whose values must be a source, such as a `file`, or are sent as written: in their place, a
 * value may be the secret itself
 */
function keysIn(schema: unknown) {
  const all = new Set<string>();
  const secret = new Set(['extra_params']);
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) node.forEach(visit);
    if (typeof node !== 'object' || node === null) return;
    for (const [name, part] of Object.entries((node as SchemaPart).properties ?? {})) {
      all.add(name);
      if (isSource(part)) secret.add(name);
    }
    Object.values(node).forEach(visit);
  };
  visit(schema);
  return { all, secret };
}

/** Does the value name a file or a variable, in every form that it may have? */
function isSource({ properties, anyOf, items }: SchemaPart): boolean {
  if (items !== undefined) return isSource(items);
  return properties?.file !== undefined || anyOf?.every(isSource) === true;
}
