import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import type { EvictionReason } from '../observability/token-observer.ts';
import type { IssuedToken } from './issued-token.ts';
import type { HasLifetime } from './lifetime.ts';
import { createRefusals } from './refusals.ts';
import { createShares, type Shares } from './shares.ts';

/** A token with a shorter lifetime is not cached. */
const MIN_LIFETIME_MS = 1;
/** A token is idle when it is not used for this time. */
const IDLE_TIMEOUT_MS = 60 * 60 * 1000;

export interface CachedToken<Token extends HasLifetime = IssuedToken> extends CacheOwner {
  readonly token: Token;
  /** Monotonic milliseconds. */
  readonly cachedAtMs: number;
  usedAtMs: number;
  /** A use after this time starts a refresh. Each attempt postpones it. */
  refreshAtMs: number;
}

export interface CacheOwner {
  /** The route that requested the token first, for reports. */
  readonly route: string;
  /** Digest of the subject token. A caller with many tokens loses its own first. Undefined for tokens of cambist itself. */
  readonly subject: string | undefined;
}

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
  /** A token expires by either clock. The library's own `ttl` supports one clock, and costs a lookup for each request. */
  const isExpired = ({ token: { lifetime } }: CachedToken<Token>, nowMs = clock.monotonicMs()): boolean =>
    lifetime.reusableUntilMs <= nowMs || lifetime.expiresAtMs <= clock.wallMs();
  const createTokens = (max: number) =>
    new LRUCache<string, CachedToken<Token>>({
      // With `max`, the library reserves room for all entries at once.
      maxSize: max,
      sizeCalculation: () => 1,
      dispose: (cached, key, reason) => {
        const { subject } = cached;
        if (reason !== 'set' && subject !== undefined) shares?.remove(subject, key);
        // The evicted token may have been expired already, which shows no lack of capacity.
        if (reason === 'evict') onEvicted(isExpired(cached) ? 'expired' : 'capacity');
      },
    });
  /**
   * Exists while the cache is full, until a sweep finds room. A cache with room evicts nothing, and there each use of a token would
   * cost a second list.
   */
  let shares: Shares | undefined;
  let limit = maxEntries;
  let maxAgeMs = Number.POSITIVE_INFINITY;
  let tokens = createTokens(limit);
  const refusals = createRefusals(limit, clock);

  /** Caches a token as long as it may be reused. */
  function keep(key: string, token: Token, { route, subject }: CacheOwner): void {
    const now = clock.monotonicMs();
    if (token.lifetime.reusableUntilMs - now < MIN_LIFETIME_MS || isTooLong(token)) return;
    if (tokens.size >= limit && !tokens.has(key)) makeRoom(subject);
    const { refreshAtMs } = token.lifetime;
    tokens.set(key, { token, route, subject, cachedAtMs: now, usedAtMs: now, refreshAtMs });
    if (subject !== undefined) shares?.add(subject, key);
  }

  /** Was the token issued under a longer `cache.max_age`? */
  function isTooLong({ lifetime }: Token): boolean {
    return lifetime.reusableUntilMs > lifetime.sentAtMs + maxAgeMs;
  }

  /** Evicts a token of the caller that exceeds its share. Without such a caller the library evicts the least recently used token. */
  function makeRoom(subject: string | undefined): void {
    shares ??= sharesOf(tokens, limit);
    const key = shares.firstToGiveWay(subject);
    const cached = key === undefined ? undefined : tokens.peek(key);
    if (key === undefined || cached === undefined) return;
    evict(key, isExpired(cached) ? 'expired' : 'capacity');
  }

  function evict(key: string, reason: EvictionReason): void {
    tokens.delete(key);
    onEvicted(reason);
  }

  /** The token of a key, unless it is expired. Does not count as a use. */
  function peek(key: string): CachedToken<Token> | undefined {
    const cached = tokens.peek(key);
    if (cached === undefined || !isExpired(cached)) return cached;
    evict(key, 'expired');
    return undefined;
  }

  /** Evicts the token of a key; with `token`, only this token. */
  function drop(key: string, reason: EvictionReason, token?: Token): void {
    const cached = peek(key);
    if (cached === undefined || (token !== undefined && cached.token !== token)) return;
    evict(key, reason);
  }

  function evictAll(reason: EvictionReason, isDone: (cached: CachedToken<Token>) => boolean): void {
    const done = [...tokens.entries()].filter(([, cached]) => isDone(cached));
    for (const [key] of done) evict(key, reason);
  }

  /** The tokens that are not expired. The next sweep evicts the others. */
  function current(): CachedToken<Token>[] {
    const nowMs = clock.monotonicMs();
    return [...tokens.values()].filter((cached) => !isExpired(cached, nowMs));
  }

  /** Evicts expired and idle tokens. Called regularly, so that they do not stay until the cache is full. */
  function sweep(): void {
    refusals.sweep();
    evictAll('expired', (cached) => isExpired(cached));
    const idleSinceMs = clock.monotonicMs() - IDLE_TIMEOUT_MS;
    evictAll('idle', ({ usedAtMs }) => usedAtMs <= idleSinceMs);
    if (tokens.size < limit) shares = undefined;
  }

  return {
    /** Finds a token that may still be sent. Counts as a use. */
    find(key: string): CachedToken<Token> | undefined {
      const cached = tokens.get(key);
      if (cached === undefined) return undefined;
      const now = clock.monotonicMs();
      if (isExpired(cached, now)) {
        evict(key, 'expired');
        return undefined;
      }
      cached.usedAtMs = now;
      if (shares !== undefined && cached.subject !== undefined) shares.use(cached.subject, key);
      return cached;
    },
    keep,
    /** Caches a token like `keep`, unless the key has one already. */
    give(key: string, token: Token, owner: CacheOwner): void {
      if (peek(key) === undefined) keep(key, token, owner);
    },
    /** Removes this token from a key. It moves to another key, so this does not count as an eviction. */
    release(key: string, token: Token): void {
      if (peek(key)?.token === token) tokens.delete(key);
    },
    drop,
    refusals,
    /** Evicts everything of these subject tokens. */
    dropSubjects(digests: ReadonlySet<string>): void {
      const isOf = (key: string): boolean => digests.has(subjectOf(key));
      for (const key of [...tokens.keys()]) if (isOf(key)) evict(key, 'revoked');
      refusals.dropAll(isOf);
    },
    sweep,
    /** The number of cached tokens that are not expired. */
    get size() {
      return current().length;
    },
    report: (): Record<string, RouteCacheReport> => reportOf(current(), clock.monotonicMs()),
    /** Changes the bound. The most recently used tokens stay. */
    resize(max: number): void {
      limit = max;
      shares = undefined;
      const moved = createTokens(limit);
      // The library's `dump` takes a second for 65,000 entries.
      tokens.rforEach((cached, key) => void moved.set(key, cached));
      tokens = moved;
      refusals.resize(limit);
    },
    /** Applies a new `cache.max_age`, and evicts the tokens that could be reused for longer. */
    limitAge(ms: number): void {
      maxAgeMs = ms;
      evictAll('expired', ({ token }) => isTooLong(token));
    },
  };
}

/** Every key begins with the digest of its subject token. */
export function subjectOf(key: string): string {
  const end = key.indexOf(':');
  return end === -1 ? '' : key.slice(0, end);
}

/** The tokens of a full cache by caller, the least recently used first. */
function sharesOf<Token extends HasLifetime>(tokens: LRUCache<string, CachedToken<Token>>, limit: number): Shares {
  const shares = createShares(limit);
  tokens.rforEach(({ subject }, key) => subject !== undefined && shares.add(subject, key));
  return shares;
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
