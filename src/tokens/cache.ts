import type { Clock } from '../clock/clock.ts';
import type { EvictionReason } from '../observability/token-observer.ts';
import { type CachedToken, type CacheOwner, createCacheEntries } from './cache-entries.ts';
import type { IssuedToken } from './issued-token.ts';
import type { HasLifetime } from './lifetime.ts';
import { createRefusals } from './refusals.ts';

/** A token with a shorter lifetime is not cached. */
const MIN_LIFETIME_MS = 1;

/** The cached tokens of one route. Ages and expiries are in seconds from now. */
export interface RouteCacheReport {
  readonly entries: number;
  readonly oldest_age_seconds: number;
  readonly next_expiry_seconds: number;
}

/** Issued tokens by `tokenKey`, and refusals by `subjectKey`. Both are bounded, and evict the least recently used entry. */
export type TokenCache<Token extends HasLifetime = IssuedToken> = ReturnType<typeof createTokenCache<Token>>;

/** @param onEvicted is called for each token that leaves the cache without a replacement */
export function createTokenCache<Token extends HasLifetime = IssuedToken>(
  maxEntries: number,
  clock: Clock,
  onEvicted: (reason: EvictionReason) => void,
) {
  const entries = createCacheEntries<Token>(maxEntries, clock, onEvicted);
  const refusals = createRefusals(maxEntries, clock);
  let maxAgeMs = Number.POSITIVE_INFINITY;

  /** Caches a token as long as it may be reused. */
  function keep(key: string, token: Token, { route, subject }: CacheOwner): void {
    const now = clock.monotonicMs();
    if (token.lifetime.reusableUntilMs - now < MIN_LIFETIME_MS || isTooLong(token)) return;
    const { refreshAtMs } = token.lifetime;
    entries.set(key, { token, route, subject, cachedAtMs: now, usedAtMs: now, refreshAtMs });
  }

  /** Was the token issued under a longer `cache.max_age`? */
  function isTooLong({ lifetime }: Token): boolean {
    return lifetime.reusableUntilMs > lifetime.sentAtMs + maxAgeMs;
  }

  return {
    find: entries.find,
    keep,
    /** Caches a token like `keep`, unless the key has one already. */
    give(key: string, token: Token, owner: CacheOwner): void {
      if (entries.peek(key) === undefined) keep(key, token, owner);
    },
    /** Removes this token from a key. It moves to another key, so this does not count as an eviction. */
    release(key: string, token: Token): void {
      if (entries.peek(key)?.token === token) entries.remove(key);
    },
    /** Evicts the token of a key; with `token`, only this token. */
    drop(key: string, reason: EvictionReason, token?: Token): void {
      const cached = entries.peek(key);
      if (cached === undefined || (token !== undefined && cached.token !== token)) return;
      entries.evict(key, reason);
    },
    refusals,
    /** Evicts everything of these subject tokens. */
    dropSubjects(digests: ReadonlySet<string>): void {
      const isOf = (key: string): boolean => digests.has(subjectOf(key));
      entries.evictAll('revoked', (_, key) => isOf(key));
      refusals.dropAll(isOf);
    },
    /** Evicts expired and idle tokens, and old refusals. Called regularly, so that they do not stay until the cache is full. */
    sweep(): void {
      refusals.sweep();
      entries.sweep();
    },
    /** The number of cached tokens that are not expired. */
    get size() {
      return entries.current().length;
    },
    report: (): Record<string, RouteCacheReport> => reportOf(entries.current(), clock.monotonicMs()),
    /** Changes the bound. The most recently used tokens stay. */
    resize(max: number): void {
      entries.resize(max);
      refusals.resize(max);
    },
    /** Applies a new `cache.max_age`, and evicts the tokens that could be reused for longer. */
    limitAge(ms: number): void {
      maxAgeMs = ms;
      entries.evictAll('expired', ({ token }) => isTooLong(token));
    },
  };
}

/** Every key begins with the digest of its subject token. */
export function subjectOf(key: string): string {
  const end = key.indexOf(':');
  return end === -1 ? '' : key.slice(0, end);
}

function reportOf<Token extends HasLifetime>(
  current: readonly CachedToken<Token>[],
  nowMs: number,
): Record<string, RouteCacheReport> {
  const report: Record<string, RouteCacheReport> = {};
  for (const { route, cachedAtMs, token } of current) {
    const ageSeconds = Math.round((nowMs - cachedAtMs) / 1000);
    const expirySeconds = Math.round((token.lifetime.reusableUntilMs - nowMs) / 1000);
    const known = report[route];
    report[route] = {
      entries: (known?.entries ?? 0) + 1,
      oldest_age_seconds: Math.max(known?.oldest_age_seconds ?? 0, ageSeconds),
      next_expiry_seconds: Math.min(known?.next_expiry_seconds ?? expirySeconds, expirySeconds),
    };
  }
  return report;
}
