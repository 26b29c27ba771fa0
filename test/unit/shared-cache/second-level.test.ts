import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { routeOf } from '../tokens/sample.ts';
import {
  bearer,
  entryOf,
  exchangeOf,
  issued,
  keysWhile,
  NEW_KEY,
  namesOf,
  OLD_KEY,
  released,
  removed,
  startAlone,
  startPair,
  startReplica,
} from './replica.ts';

const SESSION = entryOf({ session: 'one' });

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
  const { server, share } = await startAlone(t, { clock });
  const first = await share('token');
  clock.advance(50_000);
  const other = await startReplica(t, server, { clock });
  const found = await other.obtain('unused');
  assert.equal(bearer(found), 'Bearer token-1');
  assert.deepEqual([first.isShared, found.isShared], [false, true]);
  assert.ok(found.token.lifetime.reusableUntilMs <= first.token.lifetime.reusableUntilMs);
  assert.ok(found.token.lifetime.reusableUntilMs > first.token.lifetime.reusableUntilMs - 2);
  assert.equal(other.counted('lookup', 'hit'), 1);
});

test('a shorter max_age of a replica applies to tokens of others', async (t) => {
  const clock = createFakeClock();
  const { server, share } = await startAlone(t, { clock });
  await share('token');
  clock.advance(20_000);
  const other = await startReplica(t, server, { clock, maxAgeMs: 10_000 });
  assert.equal(bearer(await other.obtain('next')), 'Bearer next-1');
});

test('uses no token from the future, beyond the difference of clocks', async (t) => {
  for (const [aheadMs, expected] of [
    [4000, 'Bearer token-1'],
    [6000, 'Bearer next-1'],
  ] as const) {
    const ahead = createFakeClock();
    ahead.jumpWall(aheadMs);
    const { server, share } = await startAlone(t, { clock: ahead });
    await share('token');
    const other = await startReplica(t, server, { clock: createFakeClock() });
    assert.equal(bearer(await other.obtain('next')), expected);
  }
});

test('shares no refusal', async (t) => {
  const { server, one, other } = await startPair(t);
  const refusal = new CambistError('ERR_EXCHANGE_REFUSED', 'refused');
  await assert.rejects(one.obtain(refusal), refusal);
  await released(server);
  assert.equal(bearer(await other.obtain('token')), 'Bearer token-1');
});

test('a refresh takes the newer token of another replica, and else exchanges', async (t) => {
  const clock = createFakeClock();
  const { one, other } = await startPair(t, { clock });
  const { token: old } = await one.share('old');
  clock.advance(75_000);
  assert.equal(bearer(await one.share('new', entryOf(), old)), 'Bearer new-1');
  assert.equal(bearer(await other.obtain('unused', entryOf(), old)), 'Bearer new-1');
});

test('a token with more scopes serves requests for fewer, and not the reverse', async (t) => {
  const { share, obtain } = await startAlone(t);
  const route = routeOf({ stepUp: ['write'] });
  await share('narrow', entryOf({ route }));
  assert.equal(bearer(await share('wide', entryOf({ route, added: ['write'] }))), 'Bearer wide-1');
  const found = await obtain('unused', entryOf({ route }));
  assert.deepEqual([bearer(found), found.added], ['Bearer wide-1', ['write']]);
});

test('tells the other replicas of the end of a session, once', async (t) => {
  const { server, one, other } = await startPair(t);
  const told: string[] = [];
  one.second.onSessionEnded((key) => told.push(`one ${key}`));
  other.second.onSessionEnded((key) => told.push(`other ${key}`));
  await one.share('token', SESSION);
  one.second.endSession(SESSION);
  await eventually('it is told', () => told.length > 0);
  assert.deepEqual(told, [`other ${SESSION.key}`]);
  await removed(server);
});

test('does not share the token of a session that ended meanwhile', async (t) => {
  const { server, second, hold } = await startAlone(t);
  const { pending, release } = await hold(SESSION);
  second.endSession(SESSION);
  release();
  assert.equal(bearer(await pending), 'Bearer held-1');
  await released(server);
  assert.deepEqual(namesOf(server, 't'), []);
});

test('a session that opens takes over a token', async (t) => {
  const { server, one, other } = await startPair(t);
  const { token } = await one.share('token');
  one.second.give(SESSION, token);
  one.second.release(entryOf(), token);
  await eventually('it moved', () => namesOf(server, 't').length === 1);
  await eventually('it is found', async () => bearer(await other.obtain('unused', SESSION)) === 'Bearer token-1');
});

test('the store contains no token, digest, name or claim in clear', async (t) => {
  const { server, share, second, messages, records } = await startAlone(t);
  const entry = entryOf({ token: 'the-callers-token', session: 'the-session' });
  await share('the-issued-token', entry);
  second.endSession(entryOf({ session: 'the-session', token: 'bob' }));
  await messages.publish('revoked', { sub: 'the-user' });
  await records.keep('the-id', { sub: 'the-user' }, Date.now() + 60_000);
  await eventually('both messages are sent', () => server.messages.length === 2);
  assert.equal(namesOf(server, 't').length, 1);
  const sets = [...server.sets, ...server.records].map(([name, set]) => [name, ...set.entries()]);
  const dump = JSON.stringify([[...server.values], sets, server.messages]);
  for (const text of ['the-', 'github', entry.session.subject.digest, entry.key]) {
    const bytes = Buffer.from(text);
    for (const form of [text, bytes.toString('base64url').slice(0, -2), bytes.toString('hex')]) {
      assert.ok(!dump.includes(form), form);
    }
  }
});

test('uses no token under an older key, and removes it too', async (t) => {
  const before = await startAlone(t, { keys: [OLD_KEY] });
  const { server } = before;
  const { token } = await before.share('token');
  const after = await startReplica(t, server, { keys: [NEW_KEY, OLD_KEY] });
  const next = await after.share('next');
  assert.equal(bearer(next), 'Bearer next-1');
  assert.equal(namesOf(server, 't').length, 2);
  after.second.dropRefused(entryOf(), token);
  await eventually('the older one is removed', () => namesOf(server, 't').length === 1);
  after.second.dropRefused(entryOf(), next.token);
  await removed(server);
});

test('shares no token that is bound to a key of the replica', async (t) => {
  const { server, second } = await startAlone(t);
  const bound = { ...issued('bound'), dpop: { prove: async () => '', learn: () => false } };
  await second.obtain(entryOf(), async () => bound, undefined);
  await released(server);
  assert.deepEqual(namesOf(server, 't'), []);
});

test('shares no token for cambist itself', async (t) => {
  const { server, second, obtain } = await startAlone(t);
  const own = { ...entryOf(), session: { subject: undefined, id: undefined } };
  const { token } = await obtain('token', own);
  second.dropRefused(own, token);
  assert.equal(bearer(await obtain('next', own)), 'Bearer next-1');
  assert.deepEqual([namesOf(server, 't'), namesOf(server, 'l')], [[], []]);
});

test('after a failure of the holder, the others exchange for themselves', async (t) => {
  const { server, hold } = await startAlone(t);
  const others = await Promise.all([startReplica(t, server), startReplica(t, server)]);
  const { pending, release } = await hold(entryOf(), new CambistError('ERR_STS_UNAVAILABLE', 'down'));
  const waiting = others.map(({ obtain }) => obtain('token'));
  await eventually('they wait', () => others.every(({ counted }) => counted('lookup', 'locked') === 1));
  release();
  await assert.rejects(pending);
  for (const token of await Promise.all(waiting)) assert.equal(bearer(token), 'Bearer token-1');
});

test('goes on without a holder that died, and waits for none that no replica is', async (t) => {
  const clock = createFakeClock();
  const { server, one, other } = await startPair(t, { clock });
  await one.hold();
  // Its process ends, and the server does not even expire its lock.
  one.store.close();
  const waiting = other.obtain('token');
  await eventually('the other waits', () => other.counted('wait', 'locked') > 0);
  clock.advance(3000);
  assert.equal(bearer(await waiting), 'Bearer token-1');
  const lock = namesOf(server, 'l')[0] ?? '';
  server.values.clear();
  server.values.set(lock, 'forged');
  assert.equal(bearer(await other.obtain('next')), 'Bearer next-1');
  assert.equal(other.counted('lookup', 'invalid'), 1);
});

test('a replica takes the lock that a holder left, and waits for no other', async (t) => {
  const { server, one, other } = await startPair(t);
  await one.hold();
  const waiting = other.obtain('token');
  await eventually('the other waits', () => other.counted('wait', 'locked') > 0);
  server.values.delete(namesOf(server, 'l')[0] ?? '');
  assert.equal(bearer(await waiting), 'Bearer token-1');
  assert.equal(other.counted('wait', 'miss'), 1);
});

test('an unreadable key is an error of the cache, not of the exchange', async (t) => {
  let isReadable = true;
  const { obtain, counted } = await startAlone(t, { readKeys: keysWhile(() => isReadable) });
  isReadable = false;
  assert.equal(bearer(await obtain('token')), 'Bearer token-1');
  assert.equal(counted('lookup', 'error'), 1);
});

test('exchanges alone while the server is down or silent', async (t) => {
  const { server, obtain, counted } = await startAlone(t, { timeoutMs: 50 });
  server.fault = 'silent';
  for (let call = 1; call <= 4; call += 1) assert.equal(bearer(await obtain('token')), 'Bearer token-1');
  assert.ok(counted('lookup', 'timeout') >= 1);
  assert.ok(counted('lookup', 'timeout') <= 3);
  assert.ok(counted('lookup', 'skipped') >= 1);
});
