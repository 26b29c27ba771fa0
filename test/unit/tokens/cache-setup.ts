import { type CacheOwner, createTokenCache } from '../../../src/tokens/cache.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import type { Lifetime } from '../../../src/tokens/lifetime.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { secretOf } from './sample.ts';

export const HOUR_MS = 3_600_000;
export const GITHUB: CacheOwner = { route: 'github', subject: undefined };

/** A cache by a fake clock, with the reasons of its evictions. */
export function setUp(maxEntries = 10) {
  const clock = createFakeClock();
  const evicted: string[] = [];
  const cache = createTokenCache(maxEntries, clock, (reason) => evicted.push(reason));
  const tokenFor = (ms: number, lifetime: Partial<Lifetime> = {}): IssuedToken => ({
    authorization: secretOf('Bearer x'),
    granted: { audience: [], scope: undefined },
    lifetime: {
      sentAtMs: clock.monotonicMs(),
      reusableUntilMs: clock.monotonicMs() + ms,
      refreshAtMs: Number.POSITIVE_INFINITY,
      expiresAtMs: Number.POSITIVE_INFINITY,
      expiresAtMonotonicMs: Number.POSITIVE_INFINITY,
      expiredOnArrival: false,
      ...lifetime,
    },
  });
  return { clock, cache, evicted, tokenFor };
}
