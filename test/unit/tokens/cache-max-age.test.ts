import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GITHUB, HOUR_MS, setUp } from './cache-setup.ts';

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
