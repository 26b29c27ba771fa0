import { createTokenCache, type TokenCache } from '../../src/tokens/cache.ts';
import { computeLifetime, type HasLifetime } from '../../src/tokens/lifetime.ts';

export interface SharedCacheOptions {
  readonly replicas: number;
  readonly callers: number;
  /** Of all callers together. The next caller is chosen at random. */
  readonly requestsPerSecond: number;
  readonly endSeconds: number;
  /** `expires_in` of issued tokens. */
  readonly expiresInSeconds: number;
  /** `cache.max_age`. */
  readonly maxAgeSeconds: number;
  /** `cache.max_entries` of each replica. */
  readonly maxEntries: number;
  /** Is there a second level of the cache? */
  readonly shared: boolean;
  /** Does each caller reach one replica only? */
  readonly sticky: boolean;
  /** All replicas lose their memory in this second. */
  readonly restartSecond?: number;
  /** From 0 to 1. */
  random(): number;
}

/** Totals of one second. */
export interface SharedCacheSecond {
  exchanges: number;
  /** Reads and writes of the store. */
  operations: number;
  /** Tokens in the store at the end of the second. */
  entries: number;
}

const OWNER = { route: 'simulated', subject: undefined };

/**
 * Sends requests of many callers through the token caches of many replicas, in simulated time. Each replica has the real first level.
 * The store is a map that expires its tokens, and an exchange takes no time.
 */
export function simulateSharedCache(options: SharedCacheOptions): SharedCacheSecond[] {
  const { replicas, callers, requestsPerSecond, endSeconds, sticky, shared, restartSecond, random } = options;
  let nowMs = 0;
  const clock = { wallMs: () => nowMs, monotonicMs: () => nowMs };
  const createCaches = (): TokenCache<HasLifetime>[] =>
    Array.from({ length: replicas }, () => createTokenCache<HasLifetime>(options.maxEntries, clock, () => {}));
  const bounds = { expiresInSeconds: options.expiresInSeconds, maxAgeMs: 1000 * options.maxAgeSeconds };
  const keys = Array.from({ length: callers }, (_, caller) => String(caller));
  const store = createStore(endSeconds);
  let caches = createCaches();
  let second: SharedCacheSecond = { exchanges: 0, operations: 0, entries: 0 };

  const exchange = (): HasLifetime => {
    second.exchanges += 1;
    const issued = { ...bounds, sentAtMs: nowMs, subjectExpiresAtMs: undefined };
    return { lifetime: computeLifetime(undefined, issued, clock, random()) };
  };
  /** @param replaced the token that the new one is to replace */
  const obtain = (caller: number, replaced: HasLifetime | undefined): HasLifetime => {
    if (!shared) return exchange();
    second.operations += 1;
    const found = store.get(caller, nowMs);
    if (found !== undefined && found !== replaced) return found;
    const token = exchange();
    second.operations += 1;
    store.set(caller, token);
    return token;
  };
  const request = (): void => {
    const caller = Math.floor(callers * random());
    const replica = sticky ? caller % replicas : Math.floor(replicas * random());
    const cache = caches[replica] as TokenCache<HasLifetime>;
    const key = keys[caller] as string;
    const cached = cache.find(key);
    if (cached !== undefined && nowMs < cached.refreshAtMs) return;
    cache.keep(key, obtain(caller, cached?.token), OWNER);
  };

  const seconds: SharedCacheSecond[] = [];
  for (let at = 0; at < endSeconds; at += 1) {
    if (at === restartSecond) caches = createCaches();
    second = { exchanges: 0, operations: 0, entries: 0 };
    for (let index = 0; index < requestsPerSecond; index += 1) {
      nowMs = 1000 * (at + index / requestsPerSecond);
      request();
    }
    second.entries = store.entriesAt(at + 1);
    seconds.push(second);
  }
  return seconds;
}

/** The last token of each caller, and how many are not expired. */
function createStore(endSeconds: number) {
  const tokens = new Map<number, HasLifetime>();
  /** Tokens that expire in each second. */
  const expiring = new Array<number>(endSeconds + 1).fill(0);
  let live = 0;
  let swept = 0;
  const secondOf = ({ lifetime }: HasLifetime): number => Math.floor(lifetime.reusableUntilMs / 1000);
  const count = (token: HasLifetime, by: number): void => {
    const second = secondOf(token);
    if (second < swept) return;
    live += by;
    if (second < expiring.length) expiring[second] = (expiring[second] ?? 0) + by;
  };
  return {
    get(caller: number, nowMs: number): HasLifetime | undefined {
      const token = tokens.get(caller);
      return token !== undefined && nowMs < token.lifetime.reusableUntilMs ? token : undefined;
    },
    set(caller: number, token: HasLifetime): void {
      const previous = tokens.get(caller);
      if (previous !== undefined) count(previous, -1);
      count(token, 1);
      tokens.set(caller, token);
    },
    entriesAt(second: number): number {
      for (; swept < second; swept += 1) live -= expiring[swept] ?? 0;
      return live;
    },
  };
}
