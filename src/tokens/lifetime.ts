import type { Clock } from '../clock/clock.ts';
import type { Claims } from './token-text.ts';

/** A token or assertion that is reused for a limited time. */
export interface HasLifetime {
  readonly lifetime: Lifetime;
}

/** The time for which an issued token is used, on both clocks. */
export interface Lifetime {
  /** Monotonic milliseconds when it was requested: `max_age` counts from there. */
  readonly sentAtMs: number;
  /** Monotonic milliseconds until which it is reused. In the past: only the requests that wait for it get it. */
  readonly reusableUntilMs: number;
  /** Monotonic milliseconds from which to request the next token. Infinite when the next token could not live longer. */
  readonly refreshAtMs: number;
  /** Epoch milliseconds after which it is never sent. The monotonic clock may stop while a machine sleeps. */
  readonly expiresAtMs: number;
  /** Monotonic milliseconds after which it is never sent: `reusableUntilMs` without margin and `max_age`. */
  readonly expiresAtMonotonicMs: number;
  /** It was expired when it arrived. Waiting requests still send it at once, because a new token would be no better. */
  readonly expiredOnArrival: boolean;
}

export interface LifetimeBounds {
  /** Monotonic milliseconds when the token request was sent: `expires_in` counts from then at the latest. */
  readonly sentAtMs: number;
  /** RFC 6749 section 5.1; undefined when the response lacks it. */
  readonly expiresInSeconds: number | undefined;
  /** Epoch milliseconds when the subject token expires: its issued token must not outlive it. */
  readonly subjectExpiresAtMs: number | undefined;
  readonly maxAgeMs: number;
}

/** Lifetime when neither the response nor the token states one. */
const UNKNOWN_LIFETIME_MS = 60_000;
/** Reuse stops this long before expiry, because a request takes time to arrive … */
const MAX_MARGIN_MS = 15_000;
/** … or this share of the lifetime before, so that short-lived tokens are useful at all. */
const MARGIN_SHARE = 0.2;
/** The refresh starts in the last tenth to fifth of the lifetime. It is random, so that callers spread out. */
const REFRESH_SHARE = 0.1;

/**
 * Computes how long an issued token is reused: until the earliest of `expires_in`, the token's own `exp`, the subject token's
 * `exp` and `cache.max_age`, less a margin.
 * @param claims the token's own
 * @param random from 0 to 1, for the jitter of the refresh
 */
export function computeLifetime(claims: Claims, bounds: LifetimeBounds, clock: Clock, random: number): Lifetime {
  const now = clock.monotonicMs();
  const wall = clock.wallMs();
  const { sentAtMs, expiresInSeconds, subjectExpiresAtMs = Number.POSITIVE_INFINITY } = bounds;
  const expiresAtMs = expiryOf(claims);
  const isUnknown = expiresInSeconds === undefined && expiresAtMs === Number.POSITIVE_INFINITY;
  const statedExpiryMs = Math.min(
    sentAtMs + 1000 * (expiresInSeconds ?? Number.POSITIVE_INFINITY),
    now + (expiresAtMs - wall),
  );
  const subjectExpiryMs = now + (subjectExpiresAtMs - wall);
  const expiresAtMonotonicMs = Math.min(statedExpiryMs, subjectExpiryMs);

  const ownLimitMs = Math.min(isUnknown ? sentAtMs + UNKNOWN_LIFETIME_MS : statedExpiryMs, sentAtMs + bounds.maxAgeMs);
  const limitMs = Math.min(ownLimitMs, subjectExpiryMs);
  const reusableUntilMs = limitMs - marginOf(limitMs - now);
  return {
    sentAtMs,
    reusableUntilMs,
    refreshAtMs: subjectExpiryMs <= ownLimitMs ? Number.POSITIVE_INFINITY : refreshAt(now, reusableUntilMs, random),
    expiresAtMs: Math.min(expiresAtMs, subjectExpiresAtMs),
    expiresAtMonotonicMs,
    expiredOnArrival: expiresAtMonotonicMs <= now,
  };
}

/** The lifetime with an earlier end of its reuse. */
export function limitReuse(lifetime: Lifetime, reusableUntilMs: number, clock: Clock, random: number): Lifetime {
  if (reusableUntilMs >= lifetime.reusableUntilMs) return lifetime;
  return { ...lifetime, reusableUntilMs, refreshAtMs: refreshAt(clock.monotonicMs(), reusableUntilMs, random) };
}

function marginOf(lifetimeMs: number): number {
  return Math.min(MAX_MARGIN_MS, MARGIN_SHARE * Math.max(0, lifetimeMs));
}

function refreshAt(now: number, reusableUntilMs: number, random: number): number {
  return reusableUntilMs - REFRESH_SHARE * (1 + random) * (reusableUntilMs - now);
}

/** Has a token expired since it arrived, by either clock? Then it must not be sent. */
export function isExpired({ lifetime }: HasLifetime, clock: Clock): boolean {
  if (lifetime.expiredOnArrival) return false;
  return lifetime.expiresAtMonotonicMs <= clock.monotonicMs() || lifetime.expiresAtMs <= clock.wallMs();
}

/** Epoch milliseconds when a token expires by its own claims; infinite when it does not state that. */
export function expiryOf(claims: Claims): number {
  const exp: unknown = claims?.exp;
  return typeof exp === 'number' ? exp * 1000 : Number.POSITIVE_INFINITY;
}
