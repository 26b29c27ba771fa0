import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createTokenCache } from '../../../src/tokens/cache.ts';
import type { IssuedToken, TokenLife } from '../../../src/tokens/issued.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { secretOf } from './sample.ts';

const HOUR_MS = 3_600_000;

function setUp(maxEntries = 10) {
  const clock = createFakeClock();
  const evicted: string[] = [];
  const cache = createTokenCache(maxEntries, clock, (reason) => evicted.push(reason));
  const tokenFor = (ms: number, life: Partial<TokenLife> = {}): IssuedToken => ({
    authorization: secretOf('Bearer x'),
    life: {
      reusableUntilMs: clock.monotonicMs() + ms,
      refreshAtMs: Number.POSITIVE_INFINITY,
      endsAtMs: Number.POSITIVE_INFINITY,
      ...life,
    },
  });
  return { clock, cache, evicted, tokenFor };
}

const refusalOf = (message = 'no') => new CambistError('ERR_EXCHANGE_REFUSED', message);

test('a token is found under its key until its reuse ends, and not after', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.keep('a', token, 'github');
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
  test(`a token that may be reused for ${ms} ms is not kept at all`, () => {
    const { cache, tokenFor, clock } = setUp();
    cache.keep('a', tokenFor(ms), 'github');
    clock.advance(1e9);
    assert.equal(cache.find('a'), undefined);
    assert.equal(cache.size, 0);
  });
}

test('a token past its end on the wall clock is not found, though the monotonic clock would have it', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(100_000, { endsAtMs: clock.wallMs() + 200_000 }), 'github');
  clock.jumpWall(199_999);
  assert.notEqual(cache.find('a'), undefined);
  clock.jumpWall(1);
  assert.equal(cache.find('a'), undefined);
  assert.deepEqual(evicted, ['expired']);
});

test('a wall clock that is set back gives no token a longer life', () => {
  const { clock, cache, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000, { endsAtMs: clock.wallMs() + 1000 }), 'github');
  clock.jumpWall(-HOUR_MS);
  clock.advance(1000);
  assert.equal(cache.find('a'), undefined);
});

test('the next token takes the place of the one before, which counts as no eviction', () => {
  const { cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000), 'github');
  const next = tokenFor(2000);
  cache.keep('a', next, 'github');
  assert.equal(cache.find('a')?.token, next);
  assert.equal(cache.size, 1);
  assert.deepEqual(evicted, []);
});

test('a next token that may not be reused leaves the one before where it is', () => {
  const { cache, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.keep('a', token, 'github');
  cache.keep('a', tokenFor(0), 'github');
  assert.equal(cache.find('a')?.token, token);
});

test('the bound holds, and what was used longest ago goes first', () => {
  const { cache, evicted, tokenFor } = setUp(3);
  for (const key of ['a', 'b', 'c']) cache.keep(key, tokenFor(1000), 'github');
  cache.find('a');
  cache.keep('d', tokenFor(1000), 'github');
  assert.equal(cache.size, 3);
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].filter((key) => cache.find(key) !== undefined),
    ['a', 'c', 'd'],
  );
  assert.deepEqual(evicted, ['capacity']);
});

test('a dead token that goes under pressure counts as expired', () => {
  const { clock, cache, evicted, tokenFor } = setUp(1);
  cache.keep('a', tokenFor(1000), 'github');
  clock.advance(1000);
  cache.keep('b', tokenFor(1000, { endsAtMs: clock.wallMs() + 10 }), 'github');
  clock.jumpWall(10);
  cache.keep('c', tokenFor(1000), 'github');
  cache.keep('d', tokenFor(1000), 'github');
  assert.deepEqual(evicted, ['expired', 'expired', 'capacity']);
});

test('a token moves to another key, and keeps its end', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.keep('a', token, 'github');
  clock.advance(500);
  cache.move('a', 'b', token, 'github');
  assert.equal(cache.find('a'), undefined);
  assert.equal(cache.find('b')?.token, token);
  clock.advance(500);
  assert.equal(cache.find('b'), undefined);
  assert.deepEqual(evicted, ['expired']);
});

test('a move leaves alone what has come to either key meanwhile', () => {
  const { cache, tokenFor } = setUp();
  const [old, next, other] = [tokenFor(1000), tokenFor(1000), tokenFor(1000)];
  cache.keep('a', next, 'github');
  cache.keep('b', other, 'github');
  cache.move('a', 'b', old, 'github');
  assert.equal(cache.find('a')?.token, next);
  assert.equal(cache.find('b')?.token, other);
});

test('a token that was never kept can still be moved, while it may be reused', () => {
  const { cache, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.move('a', 'b', token, 'github');
  assert.equal(cache.find('b')?.token, token);
  cache.move('a', 'c', tokenFor(0), 'github');
  assert.equal(cache.find('c'), undefined);
});

test('a token is dropped for a reason, and where one is named only if it is still that one', () => {
  const { cache, evicted, tokenFor } = setUp();
  const [old, next] = [tokenFor(1000), tokenFor(1000)];
  cache.keep('a', next, 'github');
  cache.drop('a', 'refused', old);
  assert.equal(cache.find('a')?.token, next);
  cache.drop('a', 'refused', next);
  assert.equal(cache.find('a'), undefined);
  cache.keep('a', next, 'github');
  cache.drop('a', 'session_ended');
  cache.drop('a', 'session_ended');
  assert.deepEqual(evicted, ['refused', 'session_ended']);
});

test('a refusal is remembered ten seconds, from when it came and not from when it was asked for', () => {
  const { clock, cache } = setUp();
  const error = refusalOf();
  cache.keepRefusal('a', error);
  clock.advance(9000);
  assert.equal(cache.refusal('a'), error);
  assert.equal(cache.refusal('b'), undefined);
  clock.advance(1001);
  assert.equal(cache.refusal('a'), undefined);
});

test('refusals are bounded as tokens are', () => {
  const { cache } = setUp(2);
  for (const key of ['a', 'b', 'c']) cache.keepRefusal(key, refusalOf(key));
  assert.equal(cache.refusal('a'), undefined);
  assert.equal(cache.refusal('b')?.message, 'b');
  assert.equal(cache.refusal('c')?.message, 'c');
});

test('a sweep drops what is dead on either clock and what is idle for an hour, and nothing else', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('idle', tokenFor(3 * HOUR_MS), 'github');
  cache.keep('used', tokenFor(3 * HOUR_MS), 'github');
  cache.keep('dead', tokenFor(1000), 'github');
  cache.keep('ended', tokenFor(3 * HOUR_MS, { endsAtMs: clock.wallMs() + 2 * HOUR_MS }), 'github');
  clock.advance(HOUR_MS / 2);
  cache.find('used');
  cache.find('ended');
  clock.advance(HOUR_MS / 2);
  clock.jumpWall(HOUR_MS);
  cache.sweep();
  assert.deepEqual(evicted.sort(), ['expired', 'expired', 'idle']);
  assert.equal(cache.size, 1);
  assert.notEqual(cache.find('used'), undefined);
});

test('a report counts per route, and says how old the oldest is and which ends next', () => {
  const { clock, cache, tokenFor } = setUp();
  assert.deepEqual(cache.report(), {});
  cache.keep('a', tokenFor(60_000), 'github');
  clock.advance(10_000);
  cache.keep('b', tokenFor(20_000), 'github');
  cache.keep('c', tokenFor(5000), 'docs');
  clock.advance(1000);
  assert.deepEqual(cache.report(), {
    github: { entries: 2, oldest_age_seconds: 11, next_end_seconds: 19 },
    docs: { entries: 1, oldest_age_seconds: 1, next_end_seconds: 4 },
  });
});

test('a report holds nothing but numbers under the names of routes', () => {
  const { cache, tokenFor } = setUp();
  cache.keep('some-key', tokenFor(60_000), 'github');
  assert.equal(JSON.stringify(cache.report()), '{"github":{"entries":1,"oldest_age_seconds":0,"next_end_seconds":60}}');
});

test('a smaller bound keeps what was used last, with the life it had', () => {
  const { clock, cache, evicted, tokenFor } = setUp(3);
  for (const key of ['a', 'b', 'c']) cache.keep(key, tokenFor(10_000), 'github');
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

test('a larger bound keeps all, and refusals with them', () => {
  const { clock, cache, tokenFor } = setUp(1);
  cache.keep('a', tokenFor(100_000), 'github');
  cache.keepRefusal('r', refusalOf());
  clock.advance(5000);
  cache.resize(2);
  cache.keep('b', tokenFor(100_000), 'github');
  assert.equal(cache.size, 2);
  assert.notEqual(cache.refusal('r'), undefined);
  clock.advance(5100);
  assert.equal(cache.refusal('r'), undefined);
});
