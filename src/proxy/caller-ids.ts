import { type CredentialHeaders, headerTokens, MIN_TOKEN_LENGTH, sharesText } from './caller-tokens.ts';
import { headerValues, type RawHeaders, REQUEST_ID } from './headers.ts';

/** A UUID has 36 characters and a SHA-256 in hex has 64. Longer text is more likely a token than an id. */
const REQUEST_ID_SYNTAX = /^[A-Za-z0-9._:-]{1,64}$/;

/** base64url of the start of a JSON object: `{"`, or `{` and white space, then a second part. */
const LIKE_A_JWT = /eyJ[\w-]{8}|e[wy][\w-]{10,}\.[\w-]{8}/;

/** The caller's request id; undefined where it is missing, malformed or could be a credential. */
export function callerRequestId(raw: RawHeaders, credentialHeaders: CredentialHeaders): string | undefined {
  const [id, ...more] = headerValues(raw, REQUEST_ID);
  if (id === undefined || more.length > 0 || !REQUEST_ID_SYNTAX.test(id) || LIKE_A_JWT.test(id)) return undefined;
  return repeatsCredential(id, raw, headerTokens(raw, credentialHeaders)) ? undefined : id;
}

/** @see W3C Trace Context section 3.2 */
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-|$)/;

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
  const tokens = headerTokens(raw, credentialHeaders);
  const repeats = [tracestate, ...tracestate.split(/[,=]/)].some((part) => repeatsCredential(part, raw, tokens));
  return repeats ? { traceparent } : { traceparent, tracestate };
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
    // The name is looked at last: hardly any value contains the id.
    if (value.length >= text.length && value.includes(text) && !CORRELATION_HEADER.test(raw[i] as string)) return true;
  }
  return false;
}
