import { LRUCache } from 'lru-cache';
import type { CambistError } from '../errors.ts';
import type { Clock } from './clock.ts';
import { type IssuedToken, type Perishable, shortenLife } from './issued.ts';
import type { EvictionReason } from './observer.ts';
import { createShares } from './shares.ts';

/** How long a refusal of the caller's token, or of the target, answers for itself. */
const REFUSAL_LIFE_MS = 10_000;
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
  /** Tokens kept. */
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
  const perf = { now: () => clock.monotonicMs() };
  /** By either clock. */
  const hasEnded = ({ token: { life } }: CachedToken<Token>): boolean =>
    life.endsAtMs <= clock.wallMs() || life.reusableUntilMs <= clock.monotonicMs();
  const newTokens = (max: number) =>
    new LRUCache<string, CachedToken<Token>>({
      max,
      perf,
      ttlResolution: 0,
      dispose: (cached, key, reason) => {
        const { subject } = cached.holder;
        if (reason !== 'set' && subject !== undefined) shares.remove(subject, key);
        // What goes first under pressure may have been dead already, which is no pressure.
        if (reason === 'evict') onEvicted(hasEnded(cached) ? 'expired' : 'capacity');
        else if (reason === 'expire') onEvicted('expired');
      },
    });
  const newRefusals = (max: number) =>
    new LRUCache<string, CambistError>({ max, perf, ttlResolution: 0, ttl: REFUSAL_LIFE_MS });
  let shares = createShares(maxEntries);
  let tokens = newTokens(maxEntries);
  let refusals = newRefusals(maxEntries);

  function keep(key: string, token: Token, holder: Holder): void {
    const now = clock.monotonicMs();
    const ttl = Math.floor(token.life.reusableUntilMs - now);
    // To the library a ttl of 0 means for ever.
    if (ttl < 1) return;
    if (tokens.size >= tokens.max && !tokens.has(key)) makeRoom(holder);
    tokens.set(key, { token, holder, keptAtMs: now, usedAtMs: now, refreshAtMs: token.life.refreshAtMs }, { ttl });
    if (holder.subject !== undefined) shares.add(holder.subject, key);
  }

  /** Where nobody has more than its share the library lets go of what was used longest ago. */
  function makeRoom({ subject }: Holder): void {
    const key = shares.firstToGiveWay(subject);
    const cached = key === undefined ? undefined : tokens.peek(key, { allowStale: true });
    if (key === undefined || cached === undefined) return;
    tokens.delete(key);
    onEvicted(hasEnded(cached) ? 'expired' : 'capacity');
  }

  function drop(key: string, reason: EvictionReason, token?: Token): void {
    const cached = tokens.peek(key);
    if (cached === undefined || (token !== undefined && cached.token !== token)) return;
    tokens.delete(key);
    onEvicted(reason);
  }

  function sweep(): void {
    tokens.purgeStale();
    refusals.purgeStale();
    const idleSinceMs = clock.monotonicMs() - IDLE_LIFE_MS;
    const done: [key: string, reason: EvictionReason][] = [];
    tokens.forEach((cached, key) => {
      if (hasEnded(cached)) done.push([key, 'expired']);
      else if (cached.usedAtMs <= idleSinceMs) done.push([key, 'idle']);
    });
    for (const [key, reason] of done) drop(key, reason);
  }

  return {
    find(key) {
      const cached = tokens.get(key);
      if (cached === undefined) return undefined;
      if (hasEnded(cached)) {
        drop(key, 'expired');
        return undefined;
      }
      cached.usedAtMs = clock.monotonicMs();
      if (cached.holder.subject !== undefined) shares.use(cached.holder.subject, key);
      return cached;
    },
    keep,
    give(key, token, holder) {
      if (!tokens.has(key)) keep(key, token, holder);
    },
    release(key, token) {
      if (tokens.peek(key)?.token === token) tokens.delete(key);
    },
    drop,
    refusal: (key) => refusals.get(key),
    keepRefusal(key, error) {
      refusals.set(key, error);
    },
    sweep,
    get size() {
      tokens.purgeStale();
      return tokens.size;
    },
    report: () => reportOf(tokens, clock.monotonicMs()),
    resize(max) {
      const keptTokens = tokens.dump();
      shares = createShares(max);
      tokens = newTokens(max);
      tokens.load(keptTokens);
      tokens.rforEach(({ holder: { subject } }, key) => subject !== undefined && shares.add(subject, key));
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

function reportOf<Token extends Perishable>(
  tokens: LRUCache<string, CachedToken<Token>>,
  nowMs: number,
): Record<string, RouteCacheReport> {
  const report: Record<string, RouteCacheReport> = {};
  tokens.forEach(({ holder: { route }, keptAtMs, token }) => {
    const ageSeconds = Math.round((nowMs - keptAtMs) / 1000);
    const endSeconds = Math.round((token.life.reusableUntilMs - nowMs) / 1000);
    const known = report[route];
    report[route] = {
      entries: (known?.entries ?? 0) + 1,
      oldest_age_seconds: Math.max(known?.oldest_age_seconds ?? 0, ageSeconds),
      next_end_seconds: Math.min(known?.next_end_seconds ?? endSeconds, endSeconds),
    };
  });
  return report;
}
