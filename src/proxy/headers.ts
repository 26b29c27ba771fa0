import { HOP_BY_HOP } from '../config/header-names.ts';

/** Header names and values in turn, as they stood on the wire; duplicates and letter case stay. */
export type RawHeaders = readonly string[];

const NONE: readonly string[] = [];

/** All values of one header, a line each. `name` is lower case. */
export function headerValues(raw: RawHeaders, name: string): readonly string[] {
  let values: string[] | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const key = raw[i] as string;
    if (key.length !== name.length || key.toLowerCase() !== name) continue;
    // Most have one, and an array that grows takes room for seventeen.
    if (values === undefined) values = [raw[i + 1] as string];
    else values.push(raw[i + 1] as string);
  }
  return values ?? NONE;
}

/** Shorter than this, a token would be found in other texts by chance. */
export const MIN_TOKEN_LENGTH = 8;

/** The tokens in headers of these lower-case names, with or without a scheme before them, each once. */
export function headerTokens(raw: RawHeaders, names: Iterable<string>): readonly string[] {
  let tokens: string[] | undefined;
  for (const name of names) {
    for (const value of headerValues(raw, name)) {
      const token = lastWord(value.trim());
      if (token.length < MIN_TOKEN_LENGTH) continue;
      if (tokens === undefined) tokens = [token];
      else if (!tokens.includes(token)) tokens.push(token);
    }
  }
  return tokens ?? NONE;
}

/** Looks forwards, which V8 does many bytes at once: backwards through a long token takes it ten times as long. */
function lastWord(text: string): string {
  let start = 0;
  for (let space = text.indexOf(' '); space !== -1; space = text.indexOf(' ', start)) start = space + 1;
  return text.slice(start);
}

/** Is the text a part of one of the tokens, or one of them a part of it? */
export function sharesText(text: string, tokens: readonly string[]): boolean {
  const long = text.length >= MIN_TOKEN_LENGTH;
  return tokens.some((token) => text.includes(token) || (long && token.includes(text)));
}

/** Is one of the tokens in the text, as it is or in percent-encoding, as a query or a cookie would have it? */
export function bearsToken(text: string, tokens: readonly string[]): boolean {
  for (const token of tokens) {
    // Most headers are shorter, and encoding makes nothing so.
    if (text.length < token.length) continue;
    if (text.includes(token) || (text.includes('%') && percentDecoded(text).includes(token))) return true;
  }
  return false;
}

function percentDecoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** What goes upstream in place of what the caller sent. */
export interface RequestHeaderRules {
  /** `Host` of the upstream. */
  readonly host: string;
  /** Lower-case names that stay here, beside the hop-by-hop ones. */
  readonly withheld: ReadonlySet<string>;
  /** Tokens that the caller sent: a header whose value contains one stays here, whatever its name. */
  readonly callerTokens: readonly string[];
  readonly requestId: string;
}

/** The header that carries a request's id, both ways. */
export const REQUEST_ID = 'x-request-id';

/**
 * The headers of a request as the upstream gets them, without `Authorization`, which the dispatcher adds.
 * @see RFC 9110 section 7.6.1
 */
export function upstreamHeaders(raw: RawHeaders, rules: RequestHeaderRules): string[] {
  const listed = connectionOptions(headerValues(raw, 'connection'));
  const headers = ['host', rules.host];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const key = name.toLowerCase();
    if (key === 'host' || key === REQUEST_ID || HOP_BY_HOP.has(key)) continue;
    if (rules.withheld.has(key) || listed?.has(key) === true) continue;
    if (bearsToken(value, rules.callerTokens)) continue;
    headers.push(name, value);
  }
  headers.push(REQUEST_ID, rules.requestId);
  return headers;
}

/**
 * The headers of an answer as the caller gets them.
 * @param raw as the upstream has sent them
 */
export function callerHeaders(raw: RawHeaders): string[] {
  const headers: string[] = [];
  let listed: Set<string> | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const key = name.toLowerCase();
    if (key === 'connection') listed = connectionOptions([value], listed);
    if (!HOP_BY_HOP.has(key)) headers.push(name, value);
  }
  return listed === undefined ? headers : without(headers, listed);
}

/** Headers less those of some lower-case names. */
export function without(headers: string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (!names.has(name.toLowerCase())) kept.push(name, headers[i + 1] as string);
  }
  return kept;
}

/** Never dropped for being listed in `Connection`: without it the message ends somewhere else. */
const FRAMING = 'content-length';

/** The names that `Connection` lists, or undefined where it lists none but the usual. @param known is added to */
function connectionOptions(values: readonly string[], known?: Set<string>): Set<string> | undefined {
  let listed = known;
  for (const value of values) {
    if (value === 'keep-alive' || value === 'close') continue;
    listed ??= new Set();
    for (const name of value.toLowerCase().split(',')) listed.add(name.trim());
  }
  listed?.delete(FRAMING);
  return listed;
}
