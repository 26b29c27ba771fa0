import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { GITHUB, HOUR_MS, setUp } from './cache-setup.ts';

const refusalOf = (message = 'no') => new CambistError('ERR_EXCHANGE_REFUSED', message);

test('finds a token by its key until its reuse ends', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.keep('a', token, GITHUB);
  assert.equal(cache.find('a')?.token, token);
  assert.equal(cache.find('b'), undefined);
  clock.advance(999);
  assert.equal(cache.find('a')?.token, token);
  clock.advance(1);
  assert.equal(cache.find('a'), undefined);
  assert.equal(cache.size, 0);
  assert.deepEqual(evicted, ['expired']);
});

for (const ms of [0, -1, 0.9, -100_000]) {
  test(`does not cache a token that may be reused for ${ms} ms`, () => {
    const { cache, tokenFor, clock } = setUp();
    cache.keep('a', tokenFor(ms), GITHUB);
    clock.advance(1e9);
    assert.equal(cache.find('a'), undefined);
    assert.equal(cache.size, 0);
  });
}

test('does not find a token that is expired by the wall clock alone', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(100_000, { expiresAtMs: clock.wallMs() + 200_000 }), GITHUB);
  clock.jumpWall(199_999);
  assert.notEqual(cache.find('a'), undefined);
  clock.jumpWall(1);
  assert.equal(cache.find('a'), undefined);
  assert.deepEqual(evicted, ['expired']);
});

test('a wall clock that is set back extends no lifetime', () => {
  const { clock, cache, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000, { expiresAtMs: clock.wallMs() + 1000 }), GITHUB);
  clock.jumpWall(-HOUR_MS);
  clock.advance(1000);
  assert.equal(cache.find('a'), undefined);
});

test('replaces a token without an eviction', () => {
  const { cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000), GITHUB);
  const next = tokenFor(2000);
  cache.keep('a', next, GITHUB);
  assert.equal(cache.find('a')?.token, next);
  assert.equal(cache.size, 1);
  assert.deepEqual(evicted, []);
});

test('keeps a token when its replacement may not be reused', () => {
  const { cache, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.keep('a', token, GITHUB);
  cache.keep('a', tokenFor(0), GITHUB);
  assert.equal(cache.find('a')?.token, token);
});

test('evicts the least recently used token of a full cache', () => {
  const { cache, evicted, tokenFor } = setUp(3);
  for (const key of ['a', 'b', 'c']) cache.keep(key, tokenFor(1000), GITHUB);
  cache.find('a');
  cache.keep('d', tokenFor(1000), GITHUB);
  assert.equal(cache.size, 3);
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].filter((key) => cache.find(key) !== undefined),
    ['a', 'c', 'd'],
  );
  assert.deepEqual(evicted, ['capacity']);
});

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

test('moves a token to another key with its lifetime and without an eviction', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.keep('a', token, GITHUB);
  clock.advance(500);
  cache.release('a', token);
  cache.give('b', token, GITHUB);
  assert.equal(cache.find('a'), undefined);
  assert.equal(cache.find('b')?.token, token);
  clock.advance(500);
  assert.equal(cache.find('b'), undefined);
  assert.deepEqual(evicted, ['expired']);
});

test('moving a token replaces no other token', () => {
  const { cache, tokenFor } = setUp();
  const [old, next, other] = [tokenFor(1000), tokenFor(1000), tokenFor(1000)];
  cache.keep('a', next, GITHUB);
  cache.keep('b', other, GITHUB);
  cache.release('a', old);
  cache.give('b', old, GITHUB);
  assert.equal(cache.find('a')?.token, next);
  assert.equal(cache.find('b')?.token, other);
});

test('gives a key a new token while it may be reused', () => {
  const { cache, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.give('b', token, GITHUB);
  assert.equal(cache.find('b')?.token, token);
  cache.give('c', tokenFor(0), GITHUB);
  assert.equal(cache.find('c'), undefined);
});

test('does not count a token that is expired by the wall clock, and replaces it', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000, { expiresAtMs: clock.wallMs() + 10 }), GITHUB);
  clock.jumpWall(10);
  assert.equal(cache.size, 0);
  assert.deepEqual(cache.report(), {});
  const next = tokenFor(1000);
  cache.give('a', next, GITHUB);
  assert.equal(cache.find('a')?.token, next);
  assert.deepEqual(evicted, ['expired']);
});

test('leaves expired tokens out of counts and evicts them once, with the next sweep', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000), GITHUB);
  clock.advance(1000);
  assert.equal(cache.size, 0);
  assert.deepEqual(cache.report(), {});
  assert.deepEqual(evicted, []);
  for (let i = 0; i < 2; i += 1) cache.sweep();
  assert.deepEqual(evicted, ['expired']);
});

test('drops a token with a reason; a given token only while it is cached', () => {
  const { cache, evicted, tokenFor } = setUp();
  const [old, next] = [tokenFor(1000), tokenFor(1000)];
  cache.keep('a', next, GITHUB);
  cache.drop('a', 'refused', old);
  assert.equal(cache.find('a')?.token, next);
  cache.drop('a', 'refused', next);
  assert.equal(cache.find('a'), undefined);
  cache.keep('a', next, GITHUB);
  cache.drop('a', 'session_ended');
  cache.drop('a', 'session_ended');
  assert.deepEqual(evicted, ['refused', 'session_ended']);
});

test('caches a refusal for ten seconds from its arrival, and not from its last use', () => {
  const { clock, cache } = setUp();
  const error = refusalOf();
  cache.refusals.keep('a', error);
  clock.advance(9000);
  assert.equal(cache.refusals.find('a'), error);
  assert.equal(cache.refusals.find('b'), undefined);
  clock.advance(1001);
  assert.equal(cache.refusals.find('a'), undefined);
});

test('bounds refusals like tokens', () => {
  const { cache } = setUp(2);
  for (const key of ['a', 'b', 'c']) cache.refusals.keep(key, refusalOf(key));
  assert.equal(cache.refusals.find('a'), undefined);
  assert.equal(cache.refusals.find('b')?.message, 'b');
  assert.equal(cache.refusals.find('c')?.message, 'c');
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

test('keeps all tokens and the order of their uses while it grows to its bound', () => {
  const { cache, evicted, tokenFor } = setUp(300);
  for (let i = 0; i < 300; i += 1) {
    cache.keep(`k${i}`, tokenFor(1000), GITHUB);
    cache.find('k0');
  }
  assert.equal(cache.size, 300);
  cache.keep('new', tokenFor(1000), GITHUB);
  assert.ok(cache.find('k0') !== undefined && cache.find('new') !== undefined);
  assert.equal(cache.find('k1'), undefined);
  assert.deepEqual(evicted, ['capacity']);
});

test('a smaller bound keeps the most recently used tokens with their lifetime', () => {
  const { clock, cache, evicted, tokenFor } = setUp(3);
  for (const key of ['a', 'b', 'c']) cache.keep(key, tokenFor(10_000), GITHUB);
  cache.find('a');
  clock.advance(4000);
  cache.resize(2);
  assert.deepEqual(evicted, ['capacity']);
  assert.deepEqual(
    ['a', 'b', 'c'].filter((key) => cache.find(key) !== undefined),
    ['a', 'c'],
  );
  clock.advance(6001);
  assert.equal(cache.size, 0);
});

test('a larger bound keeps all tokens and refusals', () => {
  const { clock, cache, tokenFor } = setUp(1);
  cache.keep('a', tokenFor(100_000), GITHUB);
  cache.refusals.keep('r', refusalOf());
  clock.advance(5000);
  cache.resize(2);
  cache.keep('b', tokenFor(100_000), GITHUB);
  assert.equal(cache.size, 2);
  assert.notEqual(cache.refusals.find('r'), undefined);
  clock.advance(5100);
  assert.equal(cache.refusals.find('r'), undefined);
});

test('a refusal expires in time if the bound changes in its last millisecond', () => {
  const { clock, cache } = setUp(1);
  cache.refusals.keep('r', refusalOf());
  clock.advance(10_000);
  cache.resize(2);
  assert.notEqual(cache.refusals.find('r'), undefined);
  clock.advance(1);
  assert.equal(cache.refusals.find('r'), undefined);
});
