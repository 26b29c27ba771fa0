import { decodingsOf, hidesToken, isLikeToken } from '../secrets/like-a-token.ts';
import { headerValues, type RawHeaders, REQUEST_ID } from './headers.ts';

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
 * Does the text contain a token, plain, percent-encoded as in a query or a cookie, or base64-encoded as in Basic authentication? True
 * where there are too many tokens to compare.
 */
export function containsToken(text: string, tokens: readonly string[]): boolean {
  if (tokens.length > MAX_TOKENS) return true;
  let decoded: readonly string[] | undefined;
  for (const token of tokens) {
    // Most headers are shorter, and decoding makes no text longer.
    if (text.length < token.length) continue;
    if (text.includes(token)) return true;
    decoded ??= decodingsOf(text);
    if (decoded.some((reading) => reading.includes(token))) return true;
  }
  return false;
}

/** A UUID has 36 characters and a SHA-256 in hex has 64. Longer text is more likely a token than an id. */
const REQUEST_ID_SYNTAX = /^[A-Za-z0-9._:-]{1,64}$/;

/** The caller's request id; undefined where it is missing, malformed or could be a credential. */
export function callerRequestId(raw: RawHeaders, credentialHeaders: CredentialHeaders): string | undefined {
  const [id, ...more] = headerValues(raw, REQUEST_ID);
  if (id === undefined || more.length > 0 || !REQUEST_ID_SYNTAX.test(id) || isLikeToken(id)) return undefined;
  return repeatsCredential(id, raw, headerTokens(raw, credentialHeaders)) ? undefined : id;
}

/**
 * Version 00 ends after the flags. Version ff and ids of zeros are invalid.
 * @see W3C Trace Context section 3.2
 */
const TRACEPARENT = /^(?!ff|00-.{52}-)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-|$)/;

/** The trace that the caller takes part in; undefined where it is missing or repeats a credential. */
export function callerTraceId(raw: RawHeaders, credentialHeaders: CredentialHeaders): string | undefined {
  const [value, ...more] = headerValues(raw, 'traceparent');
  if (value === undefined || more.length > 0) return undefined;
  const [, traceId, spanId] = TRACEPARENT.exec(value) ?? [];
  if (traceId === undefined || spanId === undefined) return undefined;
  const tokens = headerTokens(raw, credentialHeaders);
  const repeats = [traceId, spanId].some((id) => repeatsCredential(id, raw, tokens));
  return repeats ? undefined : traceId;
}

/** Longest `tracestate` that every vendor has to pass on (W3C Trace Context section 3.3.1.5). */
const MAX_TRACESTATE = 512;

export interface TraceContext {
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** The caller's trace context as spans may have it, without anything that repeats a credential. */
export function callerTraceContext(raw: RawHeaders, credentialHeaders: CredentialHeaders): TraceContext {
  if (callerTraceId(raw, credentialHeaders) === undefined) return {};
  const [traceparent] = headerValues(raw, 'traceparent');
  if (traceparent === undefined) return {};
  const tracestate = headerValues(raw, 'tracestate').join(',');
  if (tracestate === '' || tracestate.length > MAX_TRACESTATE) return { traceparent };
  if (hidesToken(tracestate)) return { traceparent };
  const tokens = headerTokens(raw, credentialHeaders);
  const repeats = [tracestate, ...tracestate.split(/[,=]/)].some((part) => repeatsCredential(part, raw, tokens));
  return repeats || containsToken(tracestate, tokens) ? { traceparent } : { traceparent, tracestate };
}

/** Headers that may repeat a request id or a trace id without being a credential. */
const CORRELATION_HEADER = /trace|span|request-?id|correlation|idempotency|^b3$/i;

/**
 * Is a token in the text, or the text in a header that may be a credential?
 * @param tokens those of the credential headers
 */
function repeatsCredential(text: string, raw: RawHeaders, tokens: readonly string[]): boolean {
  if (sharesText(text, tokens)) return true;
  if (text.length < MIN_TOKEN_LENGTH) return false;
  for (let i = 0; i < raw.length; i += 2) {
    const value = raw[i + 1] as string;
    // The name is checked last, because few values contain the id.
    if (value.length >= text.length && value.includes(text) && !CORRELATION_HEADER.test(raw[i] as string)) return true;
  }
  return false;
}
