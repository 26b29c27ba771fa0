import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError } from '../../../src/errors.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import { createTokenCache } from '../../../src/tokens/cache.ts';
import type { CacheOwner } from '../../../src/tokens/cache-entries.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import type { Lifetime } from '../../../src/tokens/lifetime.ts';
import { createShares } from '../../../src/tokens/shares.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const HOUR_MS = 3_600_000;
const GITHUB: CacheOwner = { route: 'github', subject: undefined };

/** A cache by a fake clock, with the reasons of its evictions. */
function setUp(maxEntries = 10) {
  const clock = createFakeClock();
  const evicted: string[] = [];
  const cache = createTokenCache(maxEntries, clock, (reason) => evicted.push(reason));
  const tokenFor = (ms: number, lifetime: Partial<Lifetime> = {}): IssuedToken => ({
    authorization: new Secret('Bearer x'),
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
  const kept = (...keys: string[]) => keys.filter((key) => cache.find(key) !== undefined);
  return { clock, cache, evicted, tokenFor, kept };
}

test('counts an expired token that a full cache evicts as expired', () => {
  const { clock, cache, evicted, tokenFor } = setUp(1);
  cache.keep('a', tokenFor(1000), GITHUB);
  clock.advance(1000);
  cache.keep('b', tokenFor(1000, { expiresAtMs: clock.wallMs() + 10 }), GITHUB);
  clock.jumpWall(10);
  cache.keep('c', tokenFor(1000), GITHUB);
  cache.keep('d', tokenFor(1000), GITHUB);
  assert.deepEqual(evicted, ['expired', 'expired', 'capacity']);
});

test('leaves a token that is expired by either clock out of counts, replaces it, and evicts it once', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  for (const key of ['a', 'c']) cache.keep(key, tokenFor(1000), GITHUB);
  cache.keep('b', tokenFor(2000, { expiresAtMs: clock.wallMs() + 1000 }), GITHUB);
  clock.advance(1000);
  assert.equal(cache.size, 0);
  assert.deepEqual(cache.report(), {});
  assert.deepEqual(evicted, []);
  const next = tokenFor(1000);
  cache.give('b', next, GITHUB);
  assert.equal(cache.find('b')?.token, next);
  assert.equal(cache.find('c'), undefined);
  assert.deepEqual(evicted, ['expired', 'expired']);
  for (let i = 0; i < 2; i += 1) cache.sweep();
  assert.deepEqual(evicted, ['expired', 'expired', 'expired']);
});

test('neither releases nor drops a token that was replaced', () => {
  const { cache, tokenFor } = setUp();
  const [old, next] = [tokenFor(1000), tokenFor(1000)];
  cache.keep('a', next, GITHUB);
  cache.release('a', old);
  cache.drop('a', 'refused', old);
  assert.equal(cache.find('a')?.token, next);
});

test('bounds refusals like tokens, and forgets them when the bound changes', () => {
  const { refusals, resize } = setUp(2).cache;
  const kept = () => ['a', 'b', 'c'].filter((key) => refusals.find(key)?.message === key);
  for (const key of ['a', 'b', 'c']) refusals.keep(key, new CambistError('ERR_EXCHANGE_REFUSED', key));
  assert.deepEqual(kept(), ['b', 'c']);
  resize(3);
  assert.deepEqual(kept(), []);
});

test('a sweep evicts tokens that are expired by either clock or idle for an hour', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('idle', tokenFor(3 * HOUR_MS), GITHUB);
  cache.keep('used', tokenFor(3 * HOUR_MS), GITHUB);
  cache.keep('expired', tokenFor(1000), GITHUB);
  cache.keep('expired-by-wall', tokenFor(3 * HOUR_MS, { expiresAtMs: clock.wallMs() + 2 * HOUR_MS }), GITHUB);
  clock.advance(HOUR_MS / 2);
  cache.find('used');
  cache.find('expired-by-wall');
  clock.advance(HOUR_MS / 2);
  clock.jumpWall(HOUR_MS);
  cache.sweep();
  assert.deepEqual(evicted.sort(), ['expired', 'expired', 'idle']);
  assert.equal(cache.size, 1);
  assert.notEqual(cache.find('used'), undefined);
});

test('reports the number, the oldest age and the next expiry by route', () => {
  const { clock, cache, tokenFor } = setUp();
  assert.deepEqual(cache.report(), {});
  cache.keep('a', tokenFor(60_000), GITHUB);
  clock.advance(10_000);
  cache.keep('b', tokenFor(20_000), GITHUB);
  cache.keep('c', tokenFor(5000), { ...GITHUB, route: 'docs' });
  clock.advance(1000);
  assert.deepEqual(cache.report(), {
    github: { entries: 2, oldest_age_seconds: 11, next_expiry_seconds: 19 },
    docs: { entries: 1, oldest_age_seconds: 1, next_expiry_seconds: 4 },
  });
});

test('a smaller bound keeps the most recently used tokens with their lifetime', () => {
  const { clock, cache, evicted, tokenFor, kept } = setUp(3);
  for (const key of ['a', 'b', 'c']) cache.keep(key, tokenFor(10_000), GITHUB);
  cache.find('a');
  clock.advance(4000);
  cache.resize(2);
  assert.deepEqual(evicted, ['capacity']);
  assert.deepEqual(kept('a', 'b', 'c'), ['a', 'c']);
  clock.advance(6001);
  assert.equal(cache.size, 0);
});

/** A cache for twenty tokens. A caller with more than two evicts its own first. */
function setUpShares() {
  const setup = setUp(20);
  const { cache, tokenFor } = setup;
  const keep = (subject: string, key: string) => cache.keep(key, tokenFor(HOUR_MS), { route: 'github', subject });
  return { ...setup, keep };
}

test('a caller with many sessions evicts only its own tokens, the least recently used first', () => {
  const { cache, keep, kept, evicted } = setUpShares();
  keep('bob', 'bob');
  keep('carol', 'carol');
  for (let i = 0; i < 18; i += 1) keep('alice', `alice-${i}`);
  assert.deepEqual(evicted, []);
  cache.find('alice-0');
  for (let i = 18; i < 30; i += 1) keep('alice', `alice-${i}`);
  assert.deepEqual(kept('bob', 'carol', 'alice-0', 'alice-1'), ['bob', 'carol', 'alice-0']);
  assert.deepEqual(evicted, Array(12).fill('capacity'));
  assert.equal(cache.size, 20);
});

test('counts an expired token of a caller that exceeds its share as expired', () => {
  const { clock, cache, keep, evicted, tokenFor } = setUpShares();
  cache.keep('expired', tokenFor(1000), { route: 'github', subject: 'alice' });
  for (let i = 0; i < 19; i += 1) keep('alice', `alice-${i}`);
  clock.advance(1000);
  keep('bob', 'bob');
  assert.deepEqual(evicted, ['expired']);
});

test('respects uses from the time before the cache was full', () => {
  const { clock, cache, keep, kept, tokenFor } = setUpShares();
  keep('bob', 'bob');
  for (let i = 0; i < 3; i += 1) keep('alice', `alice-${i}`);
  for (let i = 0; i < 17; i += 1) cache.keep(`short-${i}`, tokenFor(1000), { route: 'github', subject: `caller-${i}` });
  assert.deepEqual(kept('alice-0', 'alice-1', 'alice-2'), ['alice-1', 'alice-2']);
  clock.advance(1000);
  cache.sweep();
  keep('alice', 'alice-3');
  cache.find('alice-1');
  for (let i = 0; i < 16; i += 1) keep(`caller-${i}`, `long-${i}`);
  keep('carol', 'carol');
  assert.deepEqual(kept('bob', 'alice-1', 'alice-2', 'alice-3', 'carol'), ['bob', 'alice-1', 'alice-3', 'carol']);
});

test('adapts shares to a new bound', () => {
  const { cache, keep, kept } = setUpShares();
  keep('bob', 'bob');
  for (let i = 0; i < 3; i += 1) keep('alice', `alice-${i}`);
  cache.resize(5);
  cache.find('alice-0');
  keep('carol', 'carol');
  keep('dave', 'dave');
  const rest = ['bob', 'alice-0', 'alice-2', 'carol', 'dave'];
  assert.deepEqual(kept('alice-1', ...rest), rest);
});

const OWNERS = ['alice', 'bob', 'carol'];
const step = fc.record({
  action: fc.constantFrom('add', 'add', 'use', 'remove'),
  owner: fc.constantFrom(...OWNERS),
  number: fc.nat(8),
});

test('always chooses the least recently used entry of an owner that exceeds its share', () => {
  fc.assert(
    fc.property(fc.constantFrom(1, 20, 30, 50), fc.array(step, { maxLength: 100 }), (maxEntries, steps) => {
      const share = Math.max(1, maxEntries / 10);
      const shares = createShares(maxEntries);
      /** The least recently used first. */
      let entries: { owner: string; key: string }[] = [];
      const of = (owner: string) => entries.filter((entry) => entry.owner === owner);
      for (const { action, owner, number } of steps) {
        const key = `${owner}-${number}`;
        const others = entries.filter((entry) => entry.key !== key);
        const exists = others.length < entries.length;
        if (action === 'add' && !exists) {
          shares.add(owner, key);
          entries.push({ owner, key });
        } else if (action === 'use') {
          shares.use(owner, key);
          if (exists) entries = [...others, { owner, key }];
        } else if (action === 'remove') {
          shares.remove(owner, key);
          entries = others;
        }
        for (const requester of [...OWNERS, undefined]) {
          const greedy = OWNERS.filter((one) => of(one).length > share);
          const allowed = requester !== undefined && greedy.includes(requester) ? [requester] : greedy;
          const first = allowed.length === 0 ? [undefined] : allowed.map((one) => of(one)[0]?.key);
          assert.ok(first.includes(shares.firstToGiveWay(requester)), `one of ${first} gives way`);
        }
      }
    }),
  );
});

test('a shorter max_age evicts the tokens that could be reused for longer', () => {
  const { cache, evicted, tokenFor } = setUp();
  const token = tokenFor(HOUR_MS);
  cache.keep('a', token, GITHUB);
  cache.give('b', token, GITHUB);
  cache.keep('short', tokenFor(75_000), GITHUB);
  cache.limitAge(90_000);
  assert.deepEqual(evicted, ['expired', 'expired']);
  assert.equal(cache.size, 1);
  cache.give('c', token, GITHUB);
  assert.equal(cache.find('c'), undefined);
  cache.limitAge(2 * HOUR_MS);
  cache.give('c', token, GITHUB);
  assert.equal(cache.find('c')?.token, token);
});
