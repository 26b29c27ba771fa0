import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createShares } from '../../../src/tokens/shares.ts';
import { GITHUB, HOUR_MS, setUp } from './cache-setup.ts';

/** A cache for twenty tokens. A caller with more than two evicts its own first. */
function setUpShares() {
  const setup = setUp(20);
  const { cache, tokenFor } = setup;
  const keep = (subject: string, key: string) => cache.keep(key, tokenFor(HOUR_MS), { route: 'github', subject });
  const kept = (...keys: string[]) => keys.filter((key) => cache.find(key) !== undefined);
  return { ...setup, keep, kept };
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

test('evicts the token of a caller that exceeds its share for another caller', () => {
  const { keep, kept } = setUpShares();
  keep('bob', 'bob-0');
  for (let i = 0; i < 19; i += 1) keep('alice', `alice-${i}`);
  keep('carol', 'carol');
  keep('bob', 'bob-1');
  assert.deepEqual(kept('alice-0', 'alice-1', 'alice-2', 'bob-0', 'bob-1', 'carol'), [
    'alice-2',
    'bob-0',
    'bob-1',
    'carol',
  ]);
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
  assert.deepEqual(kept('bob', 'alice-0', 'alice-1', 'alice-2', 'carol', 'dave'), [
    'bob',
    'alice-0',
    'alice-2',
    'carol',
    'dave',
  ]);
});

/** The model: entries with their owner, the least recently used first. */
type Entry = { owner: string; key: string };

const step = fc.record({
  action: fc.constantFrom('add', 'add', 'use', 'remove'),
  owner: fc.constantFrom('alice', 'bob', 'carol'),
  number: fc.nat(8),
});

test('always chooses the least recently used entry of an owner that exceeds its share', () => {
  fc.assert(
    fc.property(fc.constantFrom(1, 20, 30, 50), fc.array(step, { maxLength: 100 }), (maxEntries, steps) => {
      const share = Math.max(1, maxEntries / 10);
      const shares = createShares(maxEntries);
      let entries: Entry[] = [];
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
        for (const requester of ['alice', 'bob', 'carol', undefined]) {
          const greedy = ['alice', 'bob', 'carol'].filter((one) => of(one).length > share);
          const allowed = requester !== undefined && greedy.includes(requester) ? [requester] : greedy;
          const first = shares.firstToGiveWay(requester);
          if (allowed.length === 0) assert.equal(first, undefined);
          else
            assert.ok(
              allowed.some((one) => of(one)[0]?.key === first),
              `${first} gives way`,
            );
        }
      }
    }),
  );
});

test('a shorter max_age shortens the reuse of cached tokens, unless they expire earlier', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('old', tokenFor(HOUR_MS), GITHUB);
  clock.advance(60_000);
  const young = tokenFor(HOUR_MS);
  cache.keep('young', young, GITHUB);
  cache.keep('short', tokenFor(75_000), GITHUB);
  clock.advance(30_000);
  cache.limitAge(90_000, () => 0);
  assert.equal(cache.size, 2);
  assert.deepEqual(evicted, ['expired']);
  assert.equal(cache.find('old'), undefined);
  // 90 s less the margin is 75 s, of which 45 s are left.
  assert.equal(cache.find('young')?.refreshAtMs, clock.monotonicMs() + 45_000 - 4500);
  assert.equal(cache.find('short')?.refreshAtMs, Number.POSITIVE_INFINITY);
  clock.advance(44_999);
  assert.equal(cache.find('young')?.token, young);
  clock.advance(1);
  assert.equal(cache.find('young'), undefined);
});

test('a shorter max_age keeps the cooldown of a failed refresh when the token expires earlier', () => {
  const { clock, cache, tokenFor } = setUp();
  const token = tokenFor(75_000);
  token.lifetime = { ...token.lifetime, refreshAtMs: clock.monotonicMs() };
  cache.keep('short', token, GITHUB);
  const kept = cache.find('short');
  assert.ok(kept);
  const nextMs = clock.monotonicMs() + 3000;
  kept.refreshAtMs = nextMs;
  cache.limitAge(90_000, Math.random);
  assert.equal(cache.find('short')?.refreshAtMs, nextMs);
});

test('a shorter max_age applies to all keys of a token, present and later', () => {
  const { clock, cache, tokenFor } = setUp();
  const token = tokenFor(HOUR_MS);
  cache.keep('a', token, GITHUB);
  cache.give('b', token, GITHUB);
  cache.limitAge(60_000, Math.random);
  cache.give('c', token, GITHUB);
  clock.advance(48_000 - 1);
  for (const key of ['a', 'b', 'c']) assert.equal(cache.find(key)?.token, token, key);
  clock.advance(1);
  for (const key of ['a', 'b', 'c']) assert.equal(cache.find(key), undefined, key);
});
