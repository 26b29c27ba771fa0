import { jsonSchema } from './config.ts';

/** A line of a config file that is safe to show, and the column that the caret points to. */
interface SourceExcerpt {
  readonly text: string;
  /** 1-based. */
  readonly column: number;
}

/** Replaces everything that may be a secret. */
const MASK = '…';

/** Splits a line of YAML or JSON. A piece of a plain scalar that contains punctuation is masked on its own. */
const TOKEN =
  /(?<space>\s+)|(?<comment>#.*)|(?<quoted>"(?:\\.|[^"\\])*(?:"|$)|'(?:''|[^'])*(?:'|$))|(?<mark>[{}[\],:]|-(?=\s|$))|(?<plain>(?:[^\s{}[\],:#"']|:(?=\S)|(?<=\S)[#"'])+(?: +(?:[^\s{}[\],:#"']|:(?=\S))+)*)/gy;

/** Values of these keys must be a `file` or an `env`. In their place, a value may be the secret itself. */
const CREDENTIAL_KEYS: ReadonlySet<string> = new Set([
  ...['client_secret', 'private_key', 'client_assertion', 'certificate', 'ca', 'actor_token', 'extra_params'],
]);

/** Values that cannot be secret under a known key: numbers, durations, short words, URLs without a user and query, paths. */
const PLAIN_VALUE =
  /^(?:-?\d{1,7}(?:\.\d+)?[A-Za-z]{0,3}|[A-Za-z_-]{1,20}|[a-z]{2,6}:\/\/[A-Za-z0-9./_*-]{1,100}|\/[A-Za-z0-9./_*-]{0,100})$/;

/** Longer runs without punctuation may be part of a token. */
const TOKEN_LIKE = /[A-Za-z0-9_]{20,}/;

/** A hand-written line is shorter. */
const MAX_LINE_LENGTH = 1000;
/** Maximum length of the shown text, about the width of a terminal. */
const MAX_SHOWN_LENGTH = 100;

let knownKeys: ReadonlySet<string> | undefined;

/**
 * Masks all values in a line of a config file, except for those that cannot be secret.
 * @param column of the problem, 1-based
 * @param told path and message of the problem; an unknown key is shown if they contain it
 * @returns undefined if the line has no key that can be shown
 */
export function excerptOf(
  line: string,
  column: number,
  told: { readonly path: string; readonly message: string } = { path: '', message: '' },
): SourceExcerpt | undefined {
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
      const isShown = known.has(key) || isTold(key, told);
      hasKey ||= isShown;
      text += isShown ? token : MASK;
    } else {
      const isPlain = key !== undefined && known.has(key) && !CREDENTIAL_KEYS.has(key) && isPlainValue(unquoted(token));
      text += isPlain ? token : MASK;
    }
  }
  return hasKey ? clipped(text.trimEnd(), caret ?? text.trimEnd().length + 1) : undefined;
}

function isTold(key: string, { path, message }: { readonly path: string; readonly message: string }): boolean {
  return path.split(/[.[\]]+/).includes(key) || message.includes(`unknown key "${key}"`);
}

/** Cuts a long text to the part around the caret. */
function clipped(text: string, column: number): SourceExcerpt {
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

/** All property names of a JSON Schema. */
function keysIn(schema: unknown): ReadonlySet<string> {
  const keys = new Set<string>();
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) node.forEach(visit);
    if (typeof node !== 'object' || node === null) return;
    const { properties } = node as { properties?: Record<string, unknown> };
    for (const name of Object.keys(properties ?? {})) keys.add(name);
    Object.values(node).forEach(visit);
  };
  visit(schema);
  return keys;
}
