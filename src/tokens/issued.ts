import type { Secret } from '../config/secret.ts';
import { CambistError } from '../errors.ts';
import { readClaims } from './claims.ts';
import type { Clock } from './clock.ts';

/** A token for exactly one backend. */
export interface IssuedToken {
  readonly token: Secret;
  /** The whole `Authorization` value that goes upstream, built once. */
  readonly authorization: Secret;
  /** Monotonic milliseconds up to which it may be reused; not after now: for the requests that wait for it, and no other. */
  readonly reusableUntilMs: number;
}

/** What is known about the life of an issued token. */
export interface LifeBounds {
  /** Monotonic milliseconds when the token request was sent: `expires_in` counts from no later than this. */
  readonly sentAtMs: number;
  /** RFC 6749 section 5.1; undefined where the answer lacks it. */
  readonly expiresInSeconds: number | undefined;
  /** Epoch milliseconds of the subject token's end: what was exchanged must not outlive it. */
  readonly subjectExpiresAtMs: number | undefined;
  readonly maxAgeMs: number;
}

/** Reused this long where neither the answer nor the token says how long it lives. */
const UNKNOWN_LIFE_MS = 60_000;
/** A token is given up this long before its end, since a request takes time to arrive … */
const MAX_MARGIN_MS = 15_000;
/** … or this part of its life before, so that short lives are of use at all. */
const MARGIN_SHARE = 0.2;

/**
 * Until when an issued token is reused: the earliest of four clocks, less a margin.
 * @returns monotonic milliseconds
 */
export function reusableUntil(token: string, bounds: LifeBounds, clock: Clock): number {
  const now = clock.monotonicMs();
  const onMonotonic = (wallMs: number): number => now + (wallMs - clock.wallMs());
  const exp: unknown = readClaims(token)?.exp;
  const ends = [bounds.sentAtMs + bounds.maxAgeMs];
  if (bounds.expiresInSeconds !== undefined) ends.push(bounds.sentAtMs + bounds.expiresInSeconds * 1000);
  if (typeof exp === 'number') ends.push(onMonotonic(exp * 1000));
  if (ends.length === 1) ends.push(bounds.sentAtMs + UNKNOWN_LIFE_MS);
  if (bounds.subjectExpiresAtMs !== undefined) ends.push(onMonotonic(bounds.subjectExpiresAtMs));
  const end = Math.min(...ends);
  return end - Math.min(MAX_MARGIN_MS, MARGIN_SHARE * Math.max(0, end - now));
}

/**
 * Holds an issued JWT to the backend it is to be for. An opaque token cannot be checked and passes.
 * @throws {CambistError} ERR_ISSUED_TOKEN_AUDIENCE
 * @see RFC 7519 section 4.1.3
 */
export function checkAudience(token: string, expected: readonly string[] | 'any', routeName: string): void {
  if (expected === 'any') return;
  const claims = readClaims(token);
  if (claims === undefined) return;
  const audience: unknown = claims.aud;
  const named = Array.isArray(audience) ? audience : [audience];
  if (named.some((name) => typeof name === 'string' && expected.includes(name))) return;
  throw new CambistError(
    'ERR_ISSUED_TOKEN_AUDIENCE',
    `route "${routeName}": the issued token is not for this backend: its "aud" has none of ${JSON.stringify(expected)}: ` +
      'make the authorization server put one of them in, or set expect_audience to what it does put in',
  );
}
