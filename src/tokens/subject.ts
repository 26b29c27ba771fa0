import { hash } from 'node:crypto';
import { Secret } from '../config/secret.ts';
import { CambistError } from '../errors.ts';
import { EXPIRY_LEEWAY_MS, readClaims } from './claims.ts';
import type { Clock } from './clock.ts';

/** The caller's token as it came in one request. */
export interface Subject {
  readonly token: Secret;
  /** SHA-256, base64url: what cambist knows the token by. */
  readonly digest: string;
  /** Epoch milliseconds; undefined where the token does not say. */
  readonly expiresAtMs: number | undefined;
}

/** RFC 6750 section 2.1: `b64token`. */
const B64_TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;
const BEARER = /^bearer(?: +|$)/i;

/**
 * Takes the subject token out of a header.
 * @param header lower-case name; in `authorization` the scheme must be `Bearer`, elsewhere it may be left out
 * @param values every line of that header
 * @returns undefined where there is none
 * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where it is malformed or sent more than once
 * @see RFC 6750 section 2.1
 */
export function readSubject(header: string, values: readonly string[]): Subject | undefined {
  const [value] = values;
  if (value === undefined) return undefined;
  if (values.length > 1) throw invalid(`the header "${header}" came more than once: send it once`);
  const hasScheme = BEARER.test(value);
  if (header === 'authorization' && !hasScheme) return undefined;
  const token = (hasScheme ? value.replace(BEARER, '') : value).trim();
  if (!B64_TOKEN.test(token)) throw invalid(`the header "${header}" holds no well-formed bearer token`);
  return { token: new Secret(token), digest: hash('sha256', token, 'base64url'), expiresAtMs: readExpiry(token) };
}

/** @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where the token says of itself that it has expired */
export function checkExpiry(subject: Subject, clock: Clock): void {
  if (subject.expiresAtMs !== undefined && subject.expiresAtMs + EXPIRY_LEEWAY_MS <= clock.wallMs()) {
    throw invalid('the subject token has expired');
  }
}

/** Reads subject tokens, and knows the last one of each connection again, so that a long token is digested once. */
export type SubjectReader = (connection: object, header: string, values: readonly string[]) => Subject | undefined;

/** What was read is kept as long as its connection, and no longer. */
export function createSubjectReader(): SubjectReader {
  const last = new WeakMap<object, { readonly header: string; readonly value: string; readonly subject: Subject }>();
  return (connection, header, values) => {
    const [value] = values;
    const known = last.get(connection);
    if (known !== undefined && values.length === 1 && known.value === value && known.header === header) {
      return known.subject;
    }
    const subject = readSubject(header, values);
    if (subject !== undefined && value !== undefined) last.set(connection, { header, value, subject });
    return subject;
  };
}

function readExpiry(token: string): number | undefined {
  const exp: unknown = readClaims(token)?.exp;
  if (exp === undefined) return undefined;
  if (typeof exp !== 'number' || !Number.isFinite(exp)) throw invalid('the "exp" of the subject token is no number');
  return exp * 1000;
}

function invalid(message: string): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_INVALID', message);
}
