import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import type { CambistError } from '../errors.ts';
import type { EvictionReason } from '../observability/token-observer.ts';
import { type IssuedToken, type Perishable, shortenLife } from './issued.ts';
import { createShares, type Shares } from './shares.ts';

/** How long a refusal of the caller's token, or of the target, answers for itself. */
const REFUSAL_LIFE_MS = 10_000;
/** What lives shorter is not kept. */
const MIN_LIFE_MS = 1;
/** A session that asks for nothing this long is taken to have ended. */
const IDLE_LIFE_MS = 60 * 60 * 1000;

/** An issued token as it is kept. */
export interface CachedToken<Token extends Perishable = IssuedToken> {
  readonly token: Token;
  readonly holder: Holder;
  /** Monotonic milliseconds. */
  readonly keptAtMs: number;
  usedAtMs: number;
  /** From when on a use leads to a refresh; moved on by each attempt. */
  refreshAtMs: number;
}

/** For whom a token is kept. */
export interface Holder {
  /** The route that asked for it first, for reports. */
  readonly route: string;
  /** Digest of the subject token, so that a caller with many tokens gives way before others; undefined for our own tokens. */
  readonly subject: string | undefined;
}

/** What the cache holds for one route; ages and ends in seconds from now. */
export interface RouteCacheReport {
  readonly entries: number;
  readonly oldest_age_seconds: number;
  readonly next_end_seconds: number;
}

/** Issued tokens under `tokenKey`, and refusals under `subjectKey`: both bounded, both by recency. */
export interface TokenCache<Token extends Perishable = IssuedToken> {
  /** A token that may still be sent; finding it counts as use. */
  find(key: string): CachedToken<Token> | undefined;
  /** Keeps a token for as long as it may be reused; one that may not be reused is not kept. */
  keep(key: string, token: Token, holder: Holder): void;
  /** Keeps a token as `keep` does, where there is none under the key yet. */
  give(key: string, token: Token, holder: Holder): void;
  /** Takes a token from under a key, where it is still that one; it goes to another key, and so counts as no eviction. */
  release(key: string, token: Token): void;
  /** Drops what is under a key; with `token`, only where it is still that one. */
  drop(key: string, reason: EvictionReason, token?: Token): void;
  refusal(key: string): CambistError | undefined;
  keepRefusal(key: string, error: CambistError): void;
  /** Drops what is past its time or idle; to be called now and then, so that dead tokens do not wait for pressure. */
  sweep(): void;
  /** Tokens kept that are not past their time. */
  readonly size: number;
  report(): Record<string, RouteCacheReport>;
  /** Changes the bound; what is most recent stays. */
  resize(maxEntries: number): void;
  /**
   * Ends the reuse of what is kept as `cache.max_age` would have, had it been this from the beginning.
   * @param random from 0 to 1, for the jitter of refreshes
   */
  limitAge(maxAgeMs: number, random: () => number): void;
}

/** @param onEvicted is told of each token that leaves without another taking its place */
export function createTokenCache<Token extends Perishable = IssuedToken>(
  maxEntries: number,
  clock: Clock,
  onEvicted: (reason: EvictionReason) => void,
): TokenCache<Token> {
  /** By either clock. The library's own `ttl` knows but one of them, and would be looked up for each request as well. */
  const hasEnded = ({ token: { life } }: CachedToken<Token>, nowMs = clock.monotonicMs()): boolean =>
    life.reusableUntilMs <= nowMs || life.endsAtMs <= clock.wallMs();
  const newTokens = (max: number) =>
    new LRUCache<string, CachedToken<Token>>({
      max,
      dispose: (cached, key, reason) => {
        const { subject } = cached.holder;
        if (reason !== 'set' && subject !== undefined) shares?.remove(subject, key);
        // What goes first under pressure may have been dead already, which is no pressure.
        if (reason === 'evict') onEvicted(hasEnded(cached) ? 'expired' : 'capacity');
      },
    });
  const newRefusals = (max: number) =>
    new LRUCache<string, CambistError>({
      max,
      ttl: REFUSAL_LIFE_MS,
      ttlResolution: 0,
      perf: { now: () => clock.monotonicMs() },
    });
  /**
   * From when the cache is full until a sweep finds room. Before that nobody has to give way, and each use of a token would cost
   * a second list of them.
   */
  let shares: Shares | undefined;
  let tokens = newTokens(maxEntries);
  let refusals = newRefusals(maxEntries);

  function keep(key: string, token: Token, holder: Holder): void {
    const now = clock.monotonicMs();
    if (token.life.reusableUntilMs - now < MIN_LIFE_MS) return;
    if (tokens.size >= tokens.max && !tokens.has(key)) makeRoom(holder);
    tokens.set(key, { token, holder, keptAtMs: now, usedAtMs: now, refreshAtMs: token.life.refreshAtMs });
    if (holder.subject !== undefined) shares?.add(holder.subject, key);
  }

  /** Where nobody has more than its share the library lets go of what was used longest ago. */
  function makeRoom({ subject }: Holder): void {
    shares ??= sharesOf(tokens);
    const key = shares.firstToGiveWay(subject);
    const cached = key === undefined ? undefined : tokens.peek(key);
    if (key === undefined || cached === undefined) return;
    evict(key, hasEnded(cached) ? 'expired' : 'capacity');
  }

  function evict(key: string, reason: EvictionReason): void {
    tokens.delete(key);
    onEvicted(reason);
  }

  /** What is under a key and not past its time; it counts as no use. */
  function living(key: string): CachedToken<Token> | undefined {
    const cached = tokens.peek(key);
    if (cached === undefined || !hasEnded(cached)) return cached;
    evict(key, 'expired');
    return undefined;
  }

  function drop(key: string, reason: EvictionReason, token?: Token): void {
    const cached = living(key);
    if (cached === undefined || (token !== undefined && cached.token !== token)) return;
    evict(key, reason);
  }

  function evictAll(reason: EvictionReason, isDone: (cached: CachedToken<Token>) => boolean): void {
    const done = [...tokens.entries()].filter(([, cached]) => isDone(cached));
    for (const [key] of done) evict(key, reason);
  }

  /** Those that are left when what is past its time by the clock that cannot go back is dropped; by the other, it is left out. */
  function livingOnes(): CachedToken<Token>[] {
    const nowMs = clock.monotonicMs();
    evictAll('expired', ({ token: { life } }) => life.reusableUntilMs <= nowMs);
    return [...tokens.values()].filter((cached) => !hasEnded(cached, nowMs));
  }

  function sweep(): void {
    refusals.purgeStale();
    evictAll('expired', (cached) => hasEnded(cached));
    const idleSinceMs = clock.monotonicMs() - IDLE_LIFE_MS;
    evictAll('idle', ({ usedAtMs }) => usedAtMs <= idleSinceMs);
    if (tokens.size < tokens.max) shares = undefined;
  }

  return {
    find(key) {
      const cached = tokens.get(key);
      if (cached === undefined) return undefined;
      const now = clock.monotonicMs();
      if (hasEnded(cached, now)) {
        evict(key, 'expired');
        return undefined;
      }
      cached.usedAtMs = now;
      if (shares !== undefined && cached.holder.subject !== undefined) shares.use(cached.holder.subject, key);
      return cached;
    },
    keep,
    give(key, token, holder) {
      if (living(key) === undefined) keep(key, token, holder);
    },
    release(key, token) {
      if (living(key)?.token === token) tokens.delete(key);
    },
    drop,
    refusal: (key) => refusals.get(key),
    keepRefusal(key, error) {
      refusals.set(key, error);
    },
    sweep,
    get size() {
      return livingOnes().length;
    },
    report: () => reportOf(livingOnes(), clock.monotonicMs()),
    resize(max) {
      const keptTokens = tokens.dump();
      shares = undefined;
      tokens = newTokens(max);
      tokens.load(keptTokens);
      const keptRefusals = refusals.dump();
      refusals = newRefusals(max);
      refusals.load(keptRefusals);
    },
    limitAge(maxAgeMs, random) {
      // The same token may be kept under more than one key.
      const shortened = new Set<Token>();
      tokens.forEach((cached) => {
        const { token } = cached;
        const life = shortenLife(token.life, maxAgeMs, clock, random());
        if (life !== token.life) shortened.add(token);
        token.life = life;
        // Of the others a refresh may have failed, and wait for its next time.
        if (shortened.has(token)) cached.refreshAtMs = Math.min(cached.refreshAtMs, life.refreshAtMs);
      });
      sweep();
    },
  };
}

/** Whose the tokens of a full cache are, from the one used longest ago on. */
function sharesOf<Token extends Perishable>(tokens: LRUCache<string, CachedToken<Token>>): Shares {
  const shares = createShares(tokens.max);
  tokens.rforEach(({ holder: { subject } }, key) => subject !== undefined && shares.add(subject, key));
  return shares;
}

function reportOf<Token extends Perishable>(
  living: readonly CachedToken<Token>[],
  nowMs: number,
): Record<string, RouteCacheReport> {
  const report: Record<string, RouteCacheReport> = {};
  for (const { holder, keptAtMs, token } of living) {
    const { route } = holder;
    const ageSeconds = Math.round((nowMs - keptAtMs) / 1000);
    const endSeconds = Math.round((token.life.reusableUntilMs - nowMs) / 1000);
    const known = report[route];
    report[route] = {
      entries: (known?.entries ?? 0) + 1,
      oldest_age_seconds: Math.max(known?.oldest_age_seconds ?? 0, ageSeconds),
      next_end_seconds: Math.min(known?.next_end_seconds ?? endSeconds, endSeconds),
    };
  }
  return report;
}
