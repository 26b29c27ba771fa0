import { LRUCache } from 'lru-cache';
import type { CambistError } from '../errors.ts';
import type { Clock } from './clock.ts';
import type { IssuedToken } from './issued.ts';
import type { EvictionReason } from './observer.ts';

/** How long a refusal of the caller's token, or of the target, answers for itself. */
const REFUSAL_LIFE_MS = 10_000;

/** Issued tokens under `tokenKey`, and refusals under `refusalKey`: both bounded, both by recency. */
export interface TokenCache {
  token(key: string): IssuedToken | undefined;
  /** Keeps a token until its `reusableUntilMs`; one that is already past that is not kept. */
  keepToken(key: string, token: IssuedToken): void;
  /** Drops a token that a backend refused, unless another has taken its place. */
  dropToken(key: string, refused: IssuedToken): void;
  refusal(key: string): CambistError | undefined;
  keepRefusal(key: string, error: CambistError): void;
  /** Tokens kept. */
  readonly size: number;
  /** Changes the bound; what is most recent stays. */
  resize(maxEntries: number): void;
}

/** @param onEvicted is told of each token that leaves before its place is taken by another */
export function createTokenCache(
  maxEntries: number,
  clock: Clock,
  onEvicted: (reason: EvictionReason) => void,
): TokenCache {
  const perf = { now: () => clock.monotonicMs() };
  const newTokens = (max: number) =>
    new LRUCache<string, IssuedToken>({
      max,
      perf,
      ttlResolution: 0,
      ttlAutopurge: false,
      dispose: (_token, _key, reason) => {
        if (reason === 'evict') onEvicted('capacity');
        else if (reason === 'expire') onEvicted('expired');
        else if (reason === 'delete') onEvicted('refused');
      },
    });
  const newRefusals = (max: number) =>
    new LRUCache<string, CambistError>({ max, perf, ttlResolution: 0, ttl: REFUSAL_LIFE_MS });
  let tokens = newTokens(maxEntries);
  let refusals = newRefusals(maxEntries);

  return {
    token: (key) => tokens.get(key),
    keepToken(key, token) {
      const ttl = Math.floor(token.reusableUntilMs - clock.monotonicMs());
      // To the library a ttl of 0 means for ever.
      if (ttl > 0) tokens.set(key, token, { ttl });
    },
    dropToken(key, refused) {
      if (tokens.peek(key) === refused) tokens.delete(key);
    },
    refusal: (key) => refusals.get(key),
    keepRefusal(key, error) {
      refusals.set(key, error);
    },
    get size() {
      tokens.purgeStale();
      return tokens.size;
    },
    resize(max) {
      const kept = tokens.dump();
      tokens = newTokens(max);
      tokens.load(kept);
      refusals = newRefusals(max);
    },
  };
}
