import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import type { Secret } from '../secrets/secret.ts';
import { type Claims, EXPIRY_LEEWAY_MS } from './claims.ts';

/** What may be reused for a time. */
export interface Perishable {
  /** Another takes its place where `cache.max_age` becomes less. */
  life: TokenLife;
}

/** A token for exactly one backend. */
export interface IssuedToken extends Perishable {
  /** The whole `Authorization` value that goes upstream. */
  readonly authorization: Secret;
  /** There where the token is bound to our key: each request that bears it then needs a proof. */
  readonly dpop?: DpopBinding;
}

/**
 * Proves possession of the key that a token is bound to.
 * @see RFC 9449 section 7.1
 */
export interface DpopBinding {
  /** @param path with or without query; @returns the value of the header `DPoP` */
  prove(method: string, origin: string, path: string): Promise<string>;
  /** Remembers the `DPoP-Nonce` of an answer for the next proof. @returns whether there was a usable one */
  learn(origin: string, nonce: string | undefined): boolean;
}

/** Until when an issued token is of use, on both clocks. */
export interface TokenLife {
  /** Monotonic milliseconds when it was asked for: `max_age` counts from there. */
  readonly sentAtMs: number;
  /** Monotonic milliseconds up to which it is reused. In the past: for the requests that wait for it, and no other. */
  readonly reusableUntilMs: number;
  /** Monotonic milliseconds from which it is worth having the next; infinite where the next could not live longer. */
  readonly refreshAtMs: number;
  /** Epoch milliseconds after which it is never sent, whatever the monotonic clock says: a machine may have slept. */
  readonly endsAtMs: number;
  /** Monotonic milliseconds after which it is never sent: as `reusableUntilMs`, less margin and `max_age`. */
  readonly endsMonotonicMs: number;
  /** It was at its end when it came. Whoever waits for it sends it at once: the next would be no better. */
  readonly endedOnArrival: boolean;
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
/** The next token is asked for in the last tenth to fifth of the life: where in it is chance, so that callers spread out. */
const REFRESH_SHARE = 0.1;

/**
 * Until when an issued token is reused: the earliest of four clocks (`expires_in`, the token's own `exp`, the subject token's
 * `exp`, `cache.max_age`), less a margin.
 * @param claims the token's own
 * @param random from 0 to 1, for the jitter of the refresh
 */
export function measureLife(claims: Claims, bounds: LifeBounds, clock: Clock, random: number): TokenLife {
  const now = clock.monotonicMs();
  const wall = clock.wallMs();
  const { sentAtMs, expiresInSeconds, subjectExpiresAtMs = Number.POSITIVE_INFINITY } = bounds;
  const expiresAtMs = endOf(claims);
  const saysNothing = expiresInSeconds === undefined && expiresAtMs === Number.POSITIVE_INFINITY;
  const saidEndMs = Math.min(
    sentAtMs + 1000 * (expiresInSeconds ?? Number.POSITIVE_INFINITY),
    now + (expiresAtMs - wall),
  );
  const subjectEndMs = now + (subjectExpiresAtMs - wall);
  const endsMonotonicMs = Math.min(saidEndMs, subjectEndMs);

  const ownEndMs = Math.min(saysNothing ? sentAtMs + UNKNOWN_LIFE_MS : saidEndMs, sentAtMs + bounds.maxAgeMs);
  const endMs = Math.min(ownEndMs, subjectEndMs);
  const reusableUntilMs = endMs - marginOf(endMs - now);
  return {
    sentAtMs,
    reusableUntilMs,
    refreshAtMs: subjectEndMs <= ownEndMs ? Number.POSITIVE_INFINITY : refreshAt(now, reusableUntilMs, random),
    endsAtMs: Math.min(expiresAtMs, subjectExpiresAtMs),
    endsMonotonicMs,
    endedOnArrival: endsMonotonicMs <= now,
  };
}

/** The life of a token under another `cache.max_age`: the same, where that would not end its reuse sooner. */
export function shortenLife(life: TokenLife, maxAgeMs: number, clock: Clock, random: number): TokenLife {
  const reusableUntilMs = life.sentAtMs + maxAgeMs - marginOf(maxAgeMs);
  if (reusableUntilMs >= life.reusableUntilMs) return life;
  return { ...life, reusableUntilMs, refreshAtMs: refreshAt(clock.monotonicMs(), reusableUntilMs, random) };
}

function marginOf(lifeMs: number): number {
  return Math.min(MAX_MARGIN_MS, MARGIN_SHARE * Math.max(0, lifeMs));
}

function refreshAt(now: number, reusableUntilMs: number, random: number): number {
  return reusableUntilMs - REFRESH_SHARE * (1 + random) * (reusableUntilMs - now);
}

/** Has the end of a token passed since it came, by either clock? Then it must not be sent any more. */
export function hasEnded({ life }: Perishable, clock: Clock): boolean {
  if (life.endedOnArrival) return false;
  return life.endsMonotonicMs <= clock.monotonicMs() || life.endsAtMs <= clock.wallMs();
}

/** Epoch milliseconds; infinite where the token does not say. */
function endOf(claims: Claims): number {
  const exp: unknown = claims?.exp;
  return typeof exp === 'number' ? exp * 1000 : Number.POSITIVE_INFINITY;
}

/**
 * Refuses an issued JWT that was dead when it came: no backend would take it.
 * @throws {CambistError} ERR_STS_RESPONSE_INVALID
 */
export function checkNotEnded(claims: Claims, clock: Clock, routeName: string): void {
  if (endOf(claims) + EXPIRY_LEEWAY_MS > clock.wallMs()) return;
  throw new CambistError(
    'ERR_STS_RESPONSE_INVALID',
    `route "${routeName}": the issued token had ended before it came: see whether the clocks of the authorization server ` +
      'and of this machine agree',
  );
}
