import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import { Secret } from '../secrets/secret.ts';
import { type Claims, EXPIRY_LEEWAY_MS, isB64Token, type JsonObject, readClaims } from './token-text.ts';

/** The caller's token of one request. */
export interface Subject {
  readonly token: Secret;
  /** SHA-256, base64url. It identifies the token everywhere in cambist. */
  readonly digest: string;
  /** Epoch milliseconds; undefined while it is unknown. An introspection may state it, or an earlier one. */
  expiresAtMs: number | undefined;
  /** Claims that the authorization server stated. Undefined without introspection. */
  introspected: Claims;
  /** The last cache key that contains the digest: see `keptTokenKey`. */
  lastKey?: { readonly id: string | undefined; readonly resource: string; readonly key: string } | undefined;
}

/** The expiry of known tokens in epoch milliseconds, by digest: about 100 bytes each, without the token. Infinite if it is unknown. */
type ExpiryCache = LRUCache<string, number>;

/** Callers whose requests alternate on the connections of a pool, as at a gateway. */
const MAX_KNOWN_EXPIRIES = 10_000;

const BEARER = /^bearer(?: +|$)/i;
const DPOP = /^dpop(?: +|$)/i;

/**
 * Reads the subject token from a header.
 * @param header lower-case name; in `authorization` the scheme must be `Bearer`, in other headers it is optional
 * @param values every line of that header
 * @returns undefined when the header is missing
 * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID when the token is malformed, repeated or bound to the caller's key;
 *   ERR_SUBJECT_TOKEN_MISSING when there is another kind of credential
 * @see RFC 6750 section 2.1, RFC 9449 section 7.1
 */
export function readSubject(header: string, values: readonly string[], known?: ExpiryCache): Subject | undefined {
  const [value] = values;
  if (value === undefined || (values.length === 1 && value.trim() === '' && header === 'authorization'))
    return undefined;
  if (values.length > 1) throw invalid(`the header "${header}" is repeated: send it once`);
  if (DPOP.test(value)) throw bound('has the scheme DPoP');
  const hasScheme = BEARER.test(value);
  // A caller with another credential must not get cambist's own token, as a caller without a credential may.
  if (header === 'authorization' && !hasScheme)
    throw new CambistError('ERR_SUBJECT_TOKEN_MISSING', 'the scheme of the Authorization header is not Bearer');
  const token = (hasScheme ? value.replace(BEARER, '') : value).trim();
  if (!isB64Token(token)) throw invalid(`the header "${header}" contains no well-formed bearer token`);
  return toSubject(token, known);
}

/**
 * Makes a subject of a well-formed token.
 * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID when the token is bound to its holder, or its `exp` is not a number
 * @see RFC 9449 section 6.1 (`jkt`), RFC 8705 section 3.1 (`x5t#S256`)
 */
export function toSubject(token: string, known?: ExpiryCache): Subject {
  const digest = hash('sha256', token, 'base64url');
  let expiresAtMs = known?.get(digest);
  if (expiresAtMs === undefined) {
    expiresAtMs = readUsableExpiry(token);
    known?.set(digest, expiresAtMs);
  }
  return subjectWith(token, digest, expiresAtMs === Number.POSITIVE_INFINITY ? undefined : expiresAtMs);
}

/** A subject whose token is forwarded as it is: the backend judges its expiry and its holder. */
export function toForwardedSubject(token: string): Subject {
  return subjectWith(token, hash('sha256', token, 'base64url'), undefined);
}

function subjectWith(token: string, digest: string, expiresAtMs: number | undefined): Subject {
  return { token: new Secret(token), digest, expiresAtMs, introspected: undefined, lastKey: undefined };
}

/** The claims of a subject: what its authorization server says, or else what the token states itself. */
export function claimsOf({ introspected, token }: Pick<Subject, 'introspected' | 'token'>): Claims {
  return introspected ?? readClaims(token.reveal());
}

/** The thing that only the holder of a bound token has (RFC 9449 section 6, RFC 8705 section 3). */
export function holderOf({ cnf }: JsonObject): string | undefined {
  const { jkt, 'x5t#S256': thumbprint } = Object(cnf) as JsonObject;
  if (jkt !== undefined) return 'key (DPoP)';
  return thumbprint === undefined ? undefined : 'certificate (mutual TLS)';
}

/** Epoch milliseconds. Infinite where the token does not state it. */
function readUsableExpiry(token: string): number {
  const claims = readClaims(token) ?? {};
  const holder = holderOf(claims);
  if (holder !== undefined) throw bound(`is bound to a ${holder}`);
  const { exp }: { exp?: unknown } = claims;
  if (exp === undefined) return Number.POSITIVE_INFINITY;
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw invalid('the "exp" of the subject token is not a number');
  return exp * 1000;
}

/** @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID when the token is expired by its own `exp` */
export function checkExpiry(subject: Subject, clock: Clock): void {
  if (subject.expiresAtMs !== undefined && subject.expiresAtMs + EXPIRY_LEEWAY_MS <= clock.wallMs()) {
    throw new CambistError('ERR_SUBJECT_TOKEN_INVALID', 'the subject token is expired', { expired: true });
  }
}

/**
 * Reads subject tokens. It recognizes the last token of each connection, so that a long token is hashed once, and a token that
 * it knows by its digest, so that it is decoded once.
 */
export type SubjectReader = (connection: object, header: string, values: readonly string[]) => Subject | undefined;

/** Keeps a token as long as its connection, and no longer. */
export function createSubjectReader(): SubjectReader {
  const last = new WeakMap<object, { readonly header: string; readonly value: string; readonly subject: Subject }>();
  let known: ExpiryCache | undefined;
  return (connection, header, values) => {
    const [value] = values;
    const previous = last.get(connection);
    if (previous !== undefined && values.length === 1 && previous.value === value && previous.header === header) {
      return previous.subject;
    }
    known ??= new LRUCache({ max: MAX_KNOWN_EXPIRIES });
    const subject = readSubject(header, values, known);
    if (subject !== undefined && value !== undefined) last.set(connection, { header, value, subject });
    return subject;
  };
}

function bound(how: string): CambistError {
  return invalid(`the subject token ${how}, so only its holder can use it: let the agent obtain a plain bearer token`);
}

function invalid(message: string): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_INVALID', message);
}

export function revokedToken(message: string): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_INVALID', message, {
    diagnosis: {
      finding: 'subject_token_revoked',
      cause: 'the user or the session of the token was signed out, by a signal or by "cambist revoke"',
      fix: 'the user must sign in again. If the user did not sign out, see cambist_signals_total and cambist_operator_revocations_total for the source of the revocation',
    },
  });
}
