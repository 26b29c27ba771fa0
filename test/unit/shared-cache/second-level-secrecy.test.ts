import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import {
  bearer,
  entryOf,
  exchangeOf,
  issued,
  NEW_KEY,
  namesOf,
  OLD_KEY,
  released,
  removed,
  startAlone,
  startReplica,
  written,
} from './replica.ts';

test('the store contains no token, digest, name or claim in clear', async (t) => {
  const { server, second, messages, records } = await startAlone(t);
  const entry = entryOf({ token: 'the-callers-token', session: 'the-session' });
  await second.obtain(entry, exchangeOf('the-issued-token'), undefined);
  await written(server);
  second.endSession(entryOf({ session: 'the-session', token: 'bob' }));
  await messages.publish('revoked', { sub: 'the-user' });
  await records.keep('the-id', { sub: 'the-user' }, Date.now() + 60_000);
  await eventually('both messages are sent', () => server.messages.length === 2);
  const sets = [...server.sets, ...server.records].map(([name, set]) => [name, ...set.entries()]);
  const dump = JSON.stringify([[...server.values], sets, server.messages]);
  const secrets = ['the-', 'github', entry.session.subject.digest, entry.key];
  for (const text of secrets) {
    for (const form of [
      text,
      Buffer.from(text).toString('base64url').slice(0, -2),
      Buffer.from(text).toString('hex'),
    ]) {
      assert.ok(!dump.includes(form), form);
    }
  }
});

test('uses no token under an older key, and removes it too', async (t) => {
  const server = createMemoryStore();
  const before = await startReplica(t, server, { keys: [OLD_KEY] });
  const { token } = await before.second.obtain(entryOf(), exchangeOf('token'), undefined);
  await written(server);
  await released(server);
  const after = await startReplica(t, server, { keys: [NEW_KEY, OLD_KEY] });
  const next = await after.second.obtain(entryOf(), exchangeOf('next'), undefined);
  assert.equal(bearer(next), 'Bearer next-1');
  await written(server, 2);
  await released(server);
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
  assert.ok(namesOf(server, 't').length === 0);
});

test('shares no token for cambist itself', async (t) => {
  const { server, second } = await startAlone(t);
  const own = { ...entryOf(), session: { subject: undefined, id: undefined } };
  const { token } = await second.obtain(own, exchangeOf('token'), undefined);
  second.dropRefused(own, token);
  assert.equal(bearer(await second.obtain(own, exchangeOf('next'), undefined)), 'Bearer next-1');
  assert.deepEqual([namesOf(server, 't'), namesOf(server, 'l')], [[], []]);
});

test('after a failure of the holder, the others exchange for themselves', async (t) => {
  const server = createMemoryStore();
  const [one, ...others] = await Promise.all(Array.from({ length: 3 }, () => startReplica(t, server)));
  const { promise: failed, resolve: fail } = deferred<void>();
  const failing = exchangeOf(new CambistError('ERR_STS_UNAVAILABLE', 'down'));
  failing.until = failed;
  const first = one?.second.obtain(entryOf(), failing, undefined);
  await eventually('it holds the lock', () => failing.calls === 1);
  const exchange = exchangeOf('token');
  const waiting = others.map(({ second }) => second.obtain(entryOf(), exchange, undefined));
  await eventually('they wait', () => others.every(({ counted }) => counted('lookup', 'locked') === 1));
  fail();
  await assert.rejects(first ?? Promise.resolve());
  for (const token of await Promise.all(waiting)) assert.match(bearer(token), /^Bearer token-/);
});

test('goes on without a holder that died, and waits for none that no replica is', async (t) => {
  const clock = createFakeClock();
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReplica(t, server, { clock }), startReplica(t, server, { clock })]);
  const never = exchangeOf('never', clock);
  never.until = new Promise(() => {});
  void one.second.obtain(entryOf(), never, undefined);
  await eventually('it holds the lock', () => never.calls === 1);
  // Its process ends, and the server does not even expire its lock.
  one.store.close();
  const waiting = other.second.obtain(entryOf(), exchangeOf('token', clock), undefined);
  await eventually('the other waits', () => other.counted('wait', 'locked') > 0);
  clock.advance(3000);
  assert.equal(bearer(await waiting), 'Bearer token-1');
  const lock = namesOf(server, 'l')[0] ?? '';
  server.values.clear();
  server.values.set(lock, 'forged');
  assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('next', clock), undefined)), 'Bearer next-1');
  assert.equal(other.counted('lookup', 'invalid'), 1);
});

test('a replica takes the lock that a holder left, and waits for no other', async (t) => {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReplica(t, server), startReplica(t, server)]);
  const never = exchangeOf('never');
  never.until = new Promise(() => {});
  void one.second.obtain(entryOf(), never, undefined);
  await eventually('it holds the lock', () => never.calls === 1);
  const waiting = other.second.obtain(entryOf(), exchangeOf('token'), undefined);
  await eventually('the other waits', () => other.counted('wait', 'locked') > 0);
  server.values.delete(namesOf(server, 'l')[0] ?? '');
  assert.equal(bearer(await waiting), 'Bearer token-1');
  assert.equal(other.counted('wait', 'miss'), 1);
});

test('an unreadable key is an error of the cache, not of the exchange', async (t) => {
  let isReadable = true;
  const readKeys = async () => {
    if (!isReadable) throw new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'unreadable');
    return [NEW_KEY] as const;
  };
  const { second, counted } = await startAlone(t, { readKeys });
  isReadable = false;
  assert.equal(bearer(await second.obtain(entryOf(), exchangeOf('token'), undefined)), 'Bearer token-1');
  assert.equal(counted('lookup', 'error'), 1);
});

test('exchanges alone while the server is down or silent', async (t) => {
  const { server, second, counted } = await startAlone(t, { timeoutMs: 50 });
  server.fault = 'silent';
  for (let call = 1; call <= 4; call += 1) {
    assert.equal(bearer(await second.obtain(entryOf(), exchangeOf('token'), undefined)), 'Bearer token-1');
  }
  assert.ok(counted('lookup', 'timeout') >= 1);
  assert.ok(counted('lookup', 'timeout') <= 3);
  assert.ok(counted('lookup', 'skipped') >= 1);
});
