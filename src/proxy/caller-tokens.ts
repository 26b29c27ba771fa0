import { CambistError } from '../errors.ts';
import type { Subject } from '../tokens/subject.ts';
import type { SubjectSource } from '../tokens/subject-source.ts';
import { headerValues, type RawHeaders } from './headers.ts';
import type { Routed } from './steps.ts';

/** Lower-case names of the headers that may carry a caller's token, on any route. */
export type CredentialHeaders = ReadonlySet<string>;

/** Shorter text occurs in other headers by chance. */
export const MIN_TOKEN_LENGTH = 8;

/** Bounds the comparison of every token with every header. A request with more tokens is refused. */
export const MAX_TOKENS = 16;

const NONE: readonly string[] = [];

/** The tokens in these headers, without their schemes and without duplicates. At most one more than `MAX_TOKENS`. */
export function headerTokens(raw: RawHeaders, names: Iterable<string>): readonly string[] {
  let tokens: string[] | undefined;
  for (const name of names) {
    for (const value of headerValues(raw, name)) {
      const token = lastWord(value.trim());
      if (token.length < MIN_TOKEN_LENGTH) continue;
      if (tokens === undefined) tokens = [token];
      else if (!tokens.includes(token)) tokens.push(token);
      if (tokens.length > MAX_TOKENS) return tokens;
    }
  }
  return tokens ?? NONE;
}

/** Searches forwards, because V8 then compares many bytes at once. Backwards a long token takes ten times as long. */
function lastWord(text: string): string {
  let start = 0;
  for (let space = text.indexOf(' '); space !== -1; space = text.indexOf(' ', start)) start = space + 1;
  return text.slice(start);
}

/** Is the text a part of a token, or a token a part of the text? True where there are too many tokens to compare. */
export function sharesText(text: string, tokens: readonly string[]): boolean {
  if (tokens.length > MAX_TOKENS) return true;
  const long = text.length >= MIN_TOKEN_LENGTH;
  return tokens.some((token) => text.includes(token) || (long && token.includes(text)));
}

/**
 * Does the text contain a token, plain or percent-encoded as in a query or a cookie? True where there are too many tokens to
 * compare.
 */
export function containsToken(text: string, tokens: readonly string[]): boolean {
  if (tokens.length > MAX_TOKENS) return true;
  let decoded: string | undefined;
  for (const token of tokens) {
    // Most headers are shorter, and decoding makes no text longer.
    if (text.length < token.length) continue;
    if (text.includes(token)) return true;
    decoded ??= text.includes('%') ? percentDecoded(text) : '';
    if (decoded.includes(token)) return true;
  }
  return false;
}

function percentDecoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** The caller's token as a request carries it. */
export interface CallerToken {
  /** Undefined on routes that exchange none, and where the caller sent none. */
  readonly subject: Subject | undefined;
  /** Every token of the caller. None of them may reach the upstream; empty on a passthrough route. */
  readonly withheldTokens: readonly string[];
}

/**
 * Reads the caller's token. Synchronous where the token is known to be valid.
 * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID, ERR_CREDENTIAL_UNAVAILABLE, ERR_STS_UNAVAILABLE
 */
export function readCallerToken(
  { request, route, path }: Routed,
  subjects: SubjectSource,
): CallerToken | Promise<CallerToken> {
  const { socket, rawHeaders } = request.incoming;
  const { header } = route.subjectToken;
  const authorization = headerValues(rawHeaders, 'authorization');
  if (authorization.length > 1) throw ambiguous('more than one Authorization header');
  const sent = headerTokens(rawHeaders, request.active.credentialHeaders);
  if (sent.length > MAX_TOKENS) throw ambiguous(`more than ${MAX_TOKENS} tokens`);
  const withheldTokens = route.credential.kind === 'passthrough' ? NONE : sent;
  if (containsToken(path, withheldTokens)) throw ambiguous("the caller's token in the URL as well");
  if (route.credential.kind !== 'exchange') return { subject: undefined, withheldTokens };
  const values = header === 'authorization' ? authorization : headerValues(rawHeaders, header);
  const subject = subjects(route, socket, values);
  if (subject instanceof Promise) return subject.then((found) => ({ subject: found, withheldTokens }));
  return { subject, withheldTokens };
}

function ambiguous(what: string): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_INVALID', `the request carries ${what}: send the token once`);
}
