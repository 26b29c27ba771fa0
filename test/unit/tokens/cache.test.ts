import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { createTokenCache, type Holder } from '../../../src/tokens/cache.ts';
import type { IssuedToken, TokenLife } from '../../../src/tokens/issued.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { secretOf } from './sample.ts';

const HOUR_MS = 3_600_000;
const GITHUB: Holder = { route: 'github', subject: undefined };

function setUp(maxEntries = 10) {
  const clock = createFakeClock();
  const evicted: string[] = [];
  const cache = createTokenCache(maxEntries, clock, (reason) => evicted.push(reason));
  const tokenFor = (ms: number, life: Partial<TokenLife> = {}): IssuedToken => ({
    authorization: secretOf('Bearer x'),
    life: {
      sentAtMs: clock.monotonicMs(),
      reusableUntilMs: clock.monotonicMs() + ms,
      refreshAtMs: Number.POSITIVE_INFINITY,
      endsAtMs: Number.POSITIVE_INFINITY,
      endsMonotonicMs: Number.POSITIVE_INFINITY,
      endedOnArrival: false,
      ...life,
    },
  });
  return { clock, cache, evicted, tokenFor };
}

const refusalOf = (message = 'no') => new CambistError('ERR_EXCHANGE_REFUSED', message);

test('a token is found under its key until its reuse ends, and not after', () => {
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
  test(`a token that may be reused for ${ms} ms is not kept at all`, () => {
    const { cache, tokenFor, clock } = setUp();
    cache.keep('a', tokenFor(ms), GITHUB);
    clock.advance(1e9);
    assert.equal(cache.find('a'), undefined);
    assert.equal(cache.size, 0);
  });
}

test('a token past its end on the wall clock is not found, though the monotonic clock would have it', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(100_000, { endsAtMs: clock.wallMs() + 200_000 }), GITHUB);
  clock.jumpWall(199_999);
  assert.notEqual(cache.find('a'), undefined);
  clock.jumpWall(1);
  assert.equal(cache.find('a'), undefined);
  assert.deepEqual(evicted, ['expired']);
});

test('a wall clock that is set back gives no token a longer life', () => {
  const { clock, cache, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000, { endsAtMs: clock.wallMs() + 1000 }), GITHUB);
  clock.jumpWall(-HOUR_MS);
  clock.advance(1000);
  assert.equal(cache.find('a'), undefined);
});

test('the next token takes the place of the one before, which counts as no eviction', () => {
  const { cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000), GITHUB);
  const next = tokenFor(2000);
  cache.keep('a', next, GITHUB);
  assert.equal(cache.find('a')?.token, next);
  assert.equal(cache.size, 1);
  assert.deepEqual(evicted, []);
});

test('a next token that may not be reused leaves the one before where it is', () => {
  const { cache, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.keep('a', token, GITHUB);
  cache.keep('a', tokenFor(0), GITHUB);
  assert.equal(cache.find('a')?.token, token);
});

test('the bound holds, and what was used longest ago goes first', () => {
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

test('a dead token that goes under pressure counts as expired', () => {
  const { clock, cache, evicted, tokenFor } = setUp(1);
  cache.keep('a', tokenFor(1000), GITHUB);
  clock.advance(1000);
  cache.keep('b', tokenFor(1000, { endsAtMs: clock.wallMs() + 10 }), GITHUB);
  clock.jumpWall(10);
  cache.keep('c', tokenFor(1000), GITHUB);
  cache.keep('d', tokenFor(1000), GITHUB);
  assert.deepEqual(evicted, ['expired', 'expired', 'capacity']);
});

test('a token that is given to another key keeps its end, and its leaving the first counts as no eviction', () => {
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

test('what has come to either key meanwhile is left alone', () => {
  const { cache, tokenFor } = setUp();
  const [old, next, other] = [tokenFor(1000), tokenFor(1000), tokenFor(1000)];
  cache.keep('a', next, GITHUB);
  cache.keep('b', other, GITHUB);
  cache.release('a', old);
  cache.give('b', old, GITHUB);
  assert.equal(cache.find('a')?.token, next);
  assert.equal(cache.find('b')?.token, other);
});

test('a token that was never kept can be given, while it may be reused', () => {
  const { cache, tokenFor } = setUp();
  const token = tokenFor(1000);
  cache.give('b', token, GITHUB);
  assert.equal(cache.find('b')?.token, token);
  cache.give('c', tokenFor(0), GITHUB);
  assert.equal(cache.find('c'), undefined);
});

test('a token past its end on the wall clock is not counted, and another may be given in its place', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000, { endsAtMs: clock.wallMs() + 10 }), GITHUB);
  clock.jumpWall(10);
  assert.equal(cache.size, 0);
  assert.deepEqual(cache.report(), {});
  const next = tokenFor(1000);
  cache.give('a', next, GITHUB);
  assert.equal(cache.find('a')?.token, next);
  assert.deepEqual(evicted, ['expired']);
});

test('what is past its time is dropped where it is counted, and told once', () => {
  const { clock, cache, evicted, tokenFor } = setUp();
  cache.keep('a', tokenFor(1000), GITHUB);
  clock.advance(1000);
  assert.equal(cache.size, 0);
  assert.deepEqual(evicted, ['expired']);
  assert.deepEqual(cache.report(), {});
  cache.sweep();
  assert.deepEqual(evicted, ['expired']);
});

test('a token is dropped for a reason, and where one is named only if it is still that one', () => {
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
  cache.keep('idle', tokenFor(3 * HOUR_MS), GITHUB);
  cache.keep('used', tokenFor(3 * HOUR_MS), GITHUB);
  cache.keep('dead', tokenFor(1000), GITHUB);
  cache.keep('ended', tokenFor(3 * HOUR_MS, { endsAtMs: clock.wallMs() + 2 * HOUR_MS }), GITHUB);
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
  cache.keep('a', tokenFor(60_000), GITHUB);
  clock.advance(10_000);
  cache.keep('b', tokenFor(20_000), GITHUB);
  cache.keep('c', tokenFor(5000), { ...GITHUB, route: 'docs' });
  clock.advance(1000);
  assert.deepEqual(cache.report(), {
    github: { entries: 2, oldest_age_seconds: 11, next_end_seconds: 19 },
    docs: { entries: 1, oldest_age_seconds: 1, next_end_seconds: 4 },
  });
});

test('a report holds nothing but numbers under the names of routes', () => {
  const { cache, tokenFor } = setUp();
  cache.keep('some-key', tokenFor(60_000), GITHUB);
  assert.equal(JSON.stringify(cache.report()), '{"github":{"entries":1,"oldest_age_seconds":0,"next_end_seconds":60}}');
});

test('a smaller bound keeps what was used last, with the life it had', () => {
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

test('a larger bound keeps all, and refusals with them', () => {
  const { clock, cache, tokenFor } = setUp(1);
  cache.keep('a', tokenFor(100_000), GITHUB);
  cache.keepRefusal('r', refusalOf());
  clock.advance(5000);
  cache.resize(2);
  cache.keep('b', tokenFor(100_000), GITHUB);
  assert.equal(cache.size, 2);
  assert.notEqual(cache.refusal('r'), undefined);
  clock.advance(5100);
  assert.equal(cache.refusal('r'), undefined);
});

/** Twenty places, of which a subject may have two before it gives way first. */
function setUpShares() {
  const setup = setUp(20);
  const { cache, tokenFor } = setup;
  const keep = (subject: string, key: string) => cache.keep(key, tokenFor(HOUR_MS), { route: 'github', subject });
  const kept = (...keys: string[]) => keys.filter((key) => cache.find(key) !== undefined);
  return { ...setup, keep, kept };
}

test('a caller who fills the cache with sessions pushes out its own, least recently used first, and nobody else’s', () => {
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

test('when somebody else needs a place, whoever has more than its share gives way', () => {
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

test('one caller alone may have all places', () => {
  const { cache, keep, evicted } = setUpShares();
  for (let i = 0; i < 20; i += 1) keep('alice', `alice-${i}`);
  assert.equal(cache.size, 20);
  assert.deepEqual(evicted, []);
});

test('where nobody has more than its share, what was used longest ago goes first', () => {
  const { cache, keep, kept } = setUpShares();
  for (let i = 0; i < 20; i += 1) keep(`caller-${i}`, `key-${i}`);
  cache.find('key-0');
  keep('another', 'another');
  assert.deepEqual(kept('key-0', 'key-1', 'another'), ['key-0', 'another']);
});

test('a dead token of one with more than its share gives way as expired', () => {
  const { clock, cache, keep, evicted, tokenFor } = setUpShares();
  cache.keep('dead', tokenFor(1000), { route: 'github', subject: 'alice' });
  for (let i = 0; i < 19; i += 1) keep('alice', `alice-${i}`);
  clock.advance(1000);
  keep('bob', 'bob');
  assert.deepEqual(evicted, ['expired']);
});

test('what was used while there was room counts when the cache is full again', () => {
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

test('shares follow a bound that changes', () => {
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

test('a lower max_age ends the reuse of what is kept already, and a life that is shorter anyway stays as it is', () => {
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
  // 90 s less the margin are 75, and 45 of them are left.
  assert.equal(cache.find('young')?.refreshAtMs, clock.monotonicMs() + 45_000 - 4500);
  assert.equal(cache.find('short')?.refreshAtMs, Number.POSITIVE_INFINITY);
  clock.advance(44_999);
  assert.equal(cache.find('young')?.token, young);
  clock.advance(1);
  assert.equal(cache.find('young'), undefined);
});

test('a refresh that has failed waits for its next time, though max_age is lowered, where the token ends sooner anyway', () => {
  const { clock, cache, tokenFor } = setUp();
  const token = tokenFor(75_000);
  token.life = { ...token.life, refreshAtMs: clock.monotonicMs() };
  cache.keep('short', token, GITHUB);
  const kept = cache.find('short');
  assert.ok(kept);
  const nextMs = clock.monotonicMs() + 3000;
  kept.refreshAtMs = nextMs;
  cache.limitAge(90_000, Math.random);
  assert.equal(cache.find('short')?.refreshAtMs, nextMs);
});

test('a lower max_age holds under whatever key a token is kept, then or later', () => {
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
