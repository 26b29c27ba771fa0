import { needsCaller } from '../config/route.ts';
import { CambistError, type CambistErrorOptions } from '../errors.ts';
import type { Subject } from '../tokens/subject.ts';
import type { SubjectSource } from '../tokens/subject-source.ts';
import { containsToken, headerTokens, MAX_TOKENS } from './caller-tokens.ts';
import { headerValues, type RawHeaders } from './headers.ts';
import type { Routed } from './steps.ts';

export interface CallerToken {
  /** The caller's token. Undefined where the route reads none, or the caller sent none. */
  readonly subject: Subject | undefined;
  /** Tokens that must not reach the upstream: every one, or on a passthrough route those of the agent. */
  readonly withheldTokens: readonly string[];
  readonly rawHeaders: RawHeaders;
  /** Makes the error for a request that needs a caller, where the reader knows more of it. */
  readonly missing?: (facts: CambistErrorOptions) => CambistError;
}

/** With `inbound`, handles stand for callers' tokens, and another function reads them. */
export type ReadCaller = (routed: Routed, subjects: SubjectSource) => CallerToken | Promise<CallerToken>;

/**
 * Reads the caller's token. Synchronous where the token is known to be valid.
 * @param rawHeaders of the request, with tokens in place of handles
 * @throws {CambistError} ERR_SUBJECT_TOKEN_MISSING, ERR_SUBJECT_TOKEN_INVALID, ERR_CREDENTIAL_UNAVAILABLE, ERR_STS_UNAVAILABLE
 */
export function readCallerToken(
  { request, route, path }: Routed,
  subjects: SubjectSource,
  rawHeaders: RawHeaders = request.incoming.rawHeaders,
): CallerToken | Promise<CallerToken> {
  const { socket } = request.incoming;
  const { header } = route.subjectToken;
  const authorization = headerValues(rawHeaders, 'authorization');
  if (authorization.length > 1) throw ambiguous('more than one Authorization header');
  const sent = headerTokens(rawHeaders, request.active.credentialHeaders);
  if (sent.length > MAX_TOKENS) throw ambiguous(`more than ${MAX_TOKENS} tokens`);
  const isForwarded = route.credential.kind === 'passthrough';
  const { agentHeaders } = request.active;
  const own = isForwarded ? headerTokens(rawHeaders, agentHeaders) : sent;
  const { connect } = request.arrival ?? {};
  // Within a CONNECT, its headers have the token of the agent.
  const withheldTokens = connect === undefined ? own : [...own, ...headerTokens(connect.rawHeaders, agentHeaders)];
  if (containsToken(path, withheldTokens)) throw ambiguous('a token in the URL as well');
  if (isForwarded) request.record.forwarded = rawHeaders;
  if (route.credential.kind !== 'exchange' && !needsCaller(route)) {
    return { subject: undefined, withheldTokens, rawHeaders };
  }
  const values = header === 'authorization' ? authorization : headerValues(rawHeaders, header);
  const subject = subjects(route, socket, values, request.record);
  if (subject instanceof Promise) return subject.then((found) => ({ subject: found, withheldTokens, rawHeaders }));
  return { subject, withheldTokens, rawHeaders };
}

function ambiguous(what: string): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_INVALID', `the request carries ${what}: send the token once`);
}
