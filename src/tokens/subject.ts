import { hash } from 'node:crypto';
import type { JWTPayload } from 'jose';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import { Secret } from '../secrets/secret.ts';
import { isB64Token } from './b64-token.ts';
import { EXPIRY_LEEWAY_MS, readClaims } from './claims.ts';

/** The caller's token as it came in one request. */
export interface Subject {
  readonly token: Secret;
  /** SHA-256, base64url: what cambist knows the token by. */
  readonly digest: string;
  /** Epoch milliseconds; undefined where the token does not say. */
  readonly expiresAtMs: number | undefined;
}

/** What was read in tokens, by digest: some 100 bytes each, and no token. */
export type KnownEnds = LRUCache<string, { readonly expiresAtMs: number | undefined }>;

/** Callers whose calls come by turns on the connections of a pool, as at a gateway. */
const MAX_KNOWN_ENDS = 10_000;

const BEARER = /^bearer(?: +|$)/i;
const DPOP = /^dpop(?: +|$)/i;

/**
 * Takes the subject token out of a header.
 * @param header lower-case name; in `authorization` the scheme must be `Bearer`, elsewhere it may be left out
 * @param values every line of that header
 * @returns undefined where there is none
 * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where it is malformed, sent more than once or bound to the caller,
 *   ERR_SUBJECT_TOKEN_MISSING where there is a credential and it is no token
 * @see RFC 6750 section 2.1, RFC 9449 section 7.1
 */
export function readSubject(header: string, values: readonly string[], known?: KnownEnds): Subject | undefined {
  const [value] = values;
  if (value === undefined || (values.length === 1 && value.trim() === '' && header === 'authorization'))
    return undefined;
  if (values.length > 1) throw invalid(`the header "${header}" came more than once: send it once`);
  if (DPOP.test(value)) throw bound('comes with the scheme DPoP');
  const hasScheme = BEARER.test(value);
  // Whoever shows another credential is not nobody, and must not be taken for one to whom our own token may be lent.
  if (header === 'authorization' && !hasScheme) throw missing();
  const token = (hasScheme ? value.replace(BEARER, '') : value).trim();
  if (!isB64Token(token)) throw invalid(`the header "${header}" holds no well-formed bearer token`);
  return toSubject(token, known);
}

/**
 * A token that is well formed as the subject that it is.
 * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where nobody but its holder can use it, or its end is no number
 * @see RFC 9449 section 6.1 (`jkt`), RFC 8705 section 3.1 (`x5t#S256`)
 */
export function toSubject(token: string, known?: KnownEnds): Subject {
  const digest = hash('sha256', token, 'base64url');
  let end = known?.get(digest);
  if (end === undefined) {
    end = { expiresAtMs: readEnd(token) };
    known?.set(digest, end);
  }
  return { token: new Secret(token), digest, expiresAtMs: end.expiresAtMs };
}

function readEnd(token: string): number | undefined {
  const claims = readClaims(token);
  const confirmation = Object(claims?.cnf) as Record<string, unknown>;
  if (confirmation.jkt !== undefined) throw bound('is bound to a key (DPoP)');
  if (confirmation['x5t#S256'] !== undefined) throw bound('is bound to a certificate (mutual TLS)');
  return readExpiry(claims);
}

/** @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where the token says of itself that it has expired */
export function checkExpiry(subject: Subject, clock: Clock): void {
  if (subject.expiresAtMs !== undefined && subject.expiresAtMs + EXPIRY_LEEWAY_MS <= clock.wallMs()) {
    throw invalid('the subject token has expired');
  }
}

/**
 * Reads subject tokens. It knows the last one of each connection again, so that a long token is digested once, and one that it
 * has seen elsewhere by its digest, so that it is decoded once.
 */
export type SubjectReader = (connection: object, header: string, values: readonly string[]) => Subject | undefined;

/** A token is kept as long as its connection, and no longer. */
export function createSubjectReader(): SubjectReader {
  const last = new WeakMap<object, { readonly header: string; readonly value: string; readonly subject: Subject }>();
  const known: KnownEnds = new LRUCache({ max: MAX_KNOWN_ENDS });
  return (connection, header, values) => {
    const [value] = values;
    const before = last.get(connection);
    if (before !== undefined && values.length === 1 && before.value === value && before.header === header) {
      return before.subject;
    }
    const subject = readSubject(header, values, known);
    if (subject !== undefined && value !== undefined) last.set(connection, { header, value, subject });
    return subject;
  };
}

function readExpiry(claims: JWTPayload | undefined): number | undefined {
  const exp: unknown = claims?.exp;
  if (exp === undefined) return undefined;
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw invalid('the "exp" of the subject token is no number');
  return exp * 1000;
}

function bound(how: string): CambistError {
  return invalid(
    `the subject token ${how}, and nobody but its holder can show it: let the agent obtain one that is a plain bearer`,
  );
}

function missing(): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_MISSING', 'the scheme of the Authorization header is not Bearer');
}

function invalid(message: string): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_INVALID', message);
}
