import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HOUR_MS, setUp } from './cache-setup.ts';

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

test('one caller may use the whole cache while it is the only one', () => {
  const { cache, keep, evicted } = setUpShares();
  for (let i = 0; i < 20; i += 1) keep('alice', `alice-${i}`);
  assert.equal(cache.size, 20);
  assert.deepEqual(evicted, []);
});

test('evicts the least recently used token when no caller exceeds its share', () => {
  const { cache, keep, kept } = setUpShares();
  for (let i = 0; i < 20; i += 1) keep(`caller-${i}`, `key-${i}`);
  cache.find('key-0');
  keep('another', 'another');
  assert.deepEqual(kept('key-0', 'key-1', 'another'), ['key-0', 'another']);
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
