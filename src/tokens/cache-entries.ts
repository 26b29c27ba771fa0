import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import type { EvictionReason } from '../observability/token-observer.ts';
import type { IssuedToken } from './issued-token.ts';
import type { HasLifetime } from './lifetime.ts';
import { createShares, type Shares } from './shares.ts';

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

/**
 * The tokens of a cache by key. At the bound, a caller that exceeds its share loses its least recently used token. Without such a
 * caller, the cache evicts the least recently used token of all.
 * @param onEvicted is called for each token that leaves the cache without a replacement
 */
export function createCacheEntries<Token extends HasLifetime>(
  maxEntries: number,
  clock: Clock,
  onEvicted: (reason: EvictionReason) => void,
) {
  type Cached = CachedToken<Token>;
  /** A token expires by either clock. The library's own `ttl` supports one clock, and costs a lookup for each request. */
  const isExpired = ({ token: { lifetime } }: Cached, nowMs = clock.monotonicMs()): boolean =>
    lifetime.reusableUntilMs <= nowMs || lifetime.expiresAtMs <= clock.wallMs();
  const createTokens = (max: number) =>
    new LRUCache<string, Cached>({
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
  let tokens = createTokens(limit);

  /** Evicts a token of a caller that exceeds its share. Without one, the library evicts a token. */
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

  function evictAll(reason: EvictionReason, isDone: (cached: Cached, key: string) => boolean): void {
    const done = [...tokens.entries()].filter(([key, cached]) => isDone(cached, key));
    for (const [key] of done) evict(key, reason);
  }

  return {
    /** Finds a token that may still be sent. Counts as a use. */
    find(key: string): Cached | undefined {
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
    /** The token of a key, unless it is expired. Does not count as a use. */
    peek(key: string): Cached | undefined {
      const cached = tokens.peek(key);
      if (cached === undefined || !isExpired(cached)) return cached;
      evict(key, 'expired');
      return undefined;
    },
    set(key: string, cached: Cached): void {
      const { subject } = cached;
      if (tokens.size >= limit && !tokens.has(key)) makeRoom(subject);
      tokens.set(key, cached);
      if (subject !== undefined) shares?.add(subject, key);
    },
    /** Removes a token that moves to another key. Does not count as an eviction. */
    remove: (key: string): void => void tokens.delete(key),
    evict,
    evictAll,
    /** Evicts expired and idle tokens. */
    sweep(): void {
      evictAll('expired', (cached) => isExpired(cached));
      const idleSinceMs = clock.monotonicMs() - IDLE_TIMEOUT_MS;
      evictAll('idle', ({ usedAtMs }) => usedAtMs <= idleSinceMs);
      if (tokens.size < limit) shares = undefined;
    },
    /** The tokens that are not expired. The next sweep evicts the others. */
    current(): Cached[] {
      const nowMs = clock.monotonicMs();
      return [...tokens.values()].filter((cached) => !isExpired(cached, nowMs));
    },
    /** Changes the bound. The most recently used tokens stay. */
    resize(max: number): void {
      limit = max;
      shares = undefined;
      const moved = createTokens(limit);
      // The library's `dump` takes a second for 65,000 entries.
      tokens.rforEach((cached, key) => void moved.set(key, cached));
      tokens = moved;
    },
  };
}

/** The tokens of a full cache by caller, the least recently used first. */
function sharesOf<Token extends HasLifetime>(tokens: LRUCache<string, CachedToken<Token>>, limit: number): Shares {
  const shares = createShares(limit);
  tokens.rforEach(({ subject }, key) => subject !== undefined && shares.add(subject, key));
  return shares;
}
