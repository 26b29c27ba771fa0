import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { routeOf } from '../tokens/sample.ts';
import {
  bearer,
  entryOf,
  exchangeOf,
  namesOf,
  released,
  removed,
  startAlone,
  startPair,
  startReplica,
  written,
} from './replica.ts';

test('callers of four cold replicas share one exchange', async (t) => {
  const server = createMemoryStore();
  const replicas = await Promise.all(Array.from({ length: 4 }, () => startReplica(t, server)));
  const exchange = exchangeOf('token');
  const tokens = await Promise.all(replicas.map(({ second }) => second.obtain(entryOf(), exchange, undefined)));
  assert.deepEqual(new Set(tokens.map(bearer)), new Set(['Bearer token-1']));
  assert.equal(exchange.calls, 1);
});

test('a later replica finds the token, with the same end of its reuse', async (t) => {
  const clock = createFakeClock();
  const server = createMemoryStore();
  const one = await startReplica(t, server, { clock });
  const first = await one.second.obtain(entryOf(), exchangeOf('token', clock), undefined);
  await written(server);
  clock.advance(50_000);
  const other = await startReplica(t, server, { clock });
  const found = await other.second.obtain(entryOf(), exchangeOf('unused', clock), undefined);
  assert.equal(bearer(found), 'Bearer token-1');
  assert.deepEqual([first.isShared, found.isShared], [false, true]);
  assert.ok(found.token.lifetime.reusableUntilMs <= first.token.lifetime.reusableUntilMs);
  assert.ok(found.token.lifetime.reusableUntilMs > first.token.lifetime.reusableUntilMs - 2);
  assert.equal(other.counted('lookup', 'hit'), 1);
});

test('a shorter max_age of a replica applies to tokens of others', async (t) => {
  const clock = createFakeClock();
  const server = createMemoryStore();
  const one = await startReplica(t, server, { clock });
  await one.second.obtain(entryOf(), exchangeOf('token', clock), undefined);
  await written(server);
  clock.advance(20_000);
  const other = await startReplica(t, server, { clock, maxAgeMs: 10_000 });
  assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('next', clock), undefined)), 'Bearer next-1');
});

test('uses no token from the future, beyond the difference of clocks', async (t) => {
  for (const [aheadMs, expected] of [
    [4000, 'Bearer token-1'],
    [6000, 'Bearer next-1'],
  ] as const) {
    const server = createMemoryStore();
    const ahead = createFakeClock();
    ahead.jumpWall(aheadMs);
    const one = await startReplica(t, server, { clock: ahead });
    await one.second.obtain(entryOf(), exchangeOf('token', ahead), undefined);
    await written(server);
    const clock = createFakeClock();
    const other = await startReplica(t, server, { clock });
    assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('next', clock), undefined)), expected);
  }
});

test('shares no refusal', async (t) => {
  const { server, one, other } = await startPair(t);
  const refusal = new CambistError('ERR_EXCHANGE_REFUSED', 'refused');
  await assert.rejects(one.second.obtain(entryOf(), exchangeOf(refusal), undefined), refusal);
  await released(server);
  assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('token'), undefined)), 'Bearer token-1');
});

test('a refresh takes the newer token of another replica, and else exchanges', async (t) => {
  const clock = createFakeClock();
  const { server, one, other } = await startPair(t, { clock });
  const old = await one.second.obtain(entryOf(), exchangeOf('old', clock), undefined);
  await written(server);
  await released(server);
  clock.advance(75_000);
  const exchange = exchangeOf('new', clock);
  assert.equal(bearer(await one.second.obtain(entryOf(), exchange, old.token)), 'Bearer new-1');
  await released(server);
  assert.equal(bearer(await other.second.obtain(entryOf(), exchange, old.token)), 'Bearer new-1');
  assert.equal(exchange.calls, 1);
});

test('a token with more scopes serves requests for fewer, and not the reverse', async (t) => {
  const { server, second } = await startAlone(t);
  const route = routeOf({ stepUp: ['write'] });
  await second.obtain(entryOf({ route }), exchangeOf('narrow'), undefined);
  await written(server);
  await released(server);
  const wide = await second.obtain(entryOf({ route, added: ['write'] }), exchangeOf('wide'), undefined);
  assert.equal(bearer(wide), 'Bearer wide-1');
  await released(server);
  const found = await second.obtain(entryOf({ route }), exchangeOf('unused'), undefined);
  assert.deepEqual([bearer(found), found.added], ['Bearer wide-1', ['write']]);
});

test('tells the other replicas of the end of a session, once', async (t) => {
  const { server, one, other } = await startPair(t);
  const told: string[] = [];
  one.second.onSessionEnded((key) => told.push(`one ${key}`));
  other.second.onSessionEnded((key) => told.push(`other ${key}`));
  const entry = entryOf({ session: 'one' });
  await one.second.obtain(entry, exchangeOf('token'), undefined);
  await written(server);
  one.second.endSession(entry);
  await eventually('it is told', () => told.length > 0);
  assert.deepEqual(told, [`other ${entry.key}`]);
  await removed(server);
});

test('does not share the token of a session that ended meanwhile', async (t) => {
  const { server, second } = await startAlone(t);
  const exchange = exchangeOf('token');
  const { promise: issued, resolve: issue } = deferred<void>();
  exchange.until = issued;
  const entry = entryOf({ session: 'one' });
  const pending = second.obtain(entry, exchange, undefined);
  await eventually('it exchanges', () => exchange.calls === 1);
  second.endSession(entry);
  issue();
  assert.equal(bearer(await pending), 'Bearer token-1');
  await released(server);
  assert.ok(namesOf(server, 't').length === 0);
});

test('a session that opens takes over a token', async (t) => {
  const { server, one, other } = await startPair(t);
  const { token } = await one.second.obtain(entryOf(), exchangeOf('token'), undefined);
  await written(server);
  one.second.give(entryOf({ session: 'opened' }), token);
  one.second.release(entryOf(), token);
  await eventually('it moved', () => namesOf(server, 't').length === 1);
  const unused = exchangeOf('unused');
  await eventually('it is found', async () => {
    const found = await other.second.obtain(entryOf({ session: 'opened' }), unused, undefined);
    return bearer(found) === 'Bearer token-1';
  });
});
