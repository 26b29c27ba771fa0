import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { deferred } from '../../harness/deferred.ts';
import { eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { exchangeOf as exchangeCredential, routeOf, serverOf } from '../tokens/sample.ts';
import { bearer, entryOf, exchangeOf, startReplica } from './replica.ts';

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
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReplica(t, server), startReplica(t, server)]);
  const never = exchangeOf('never');
  never.until = new Promise(() => {});
  void one.second.obtain(entryOf(), never, undefined);
  await eventually('it holds the lock', () => never.calls === 1);
  // Its process ends: nothing renews the lock, and the server does not even expire it.
  one.store.close();
  assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('token'), undefined)), 'Bearer token-1');
  const lock = [...server.values.keys()].find((name) => name.includes(':l:')) ?? '';
  server.values.clear();
  server.values.set(lock, 'forged');
  assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('next'), undefined)), 'Bearer next-1');
  assert.equal(other.counted('lookup', 'invalid'), 1);
});

test('when the holder dies, one replica takes its place, and the others wait for that one', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const [one, ...others] = await Promise.all(Array.from({ length: 4 }, () => startReplica(t, server, { clock })));
  const never = exchangeOf('never', clock);
  never.until = new Promise(() => {});
  void one?.second.obtain(entryOf(), never, undefined);
  await eventually('it holds the lock', () => never.calls === 1);
  const exchange = exchangeOf('token', clock);
  const waiting = others.map(({ second }) => second.obtain(entryOf(), exchange, undefined));
  const polls = () => others.map(({ counted }) => counted('wait', 'locked'));
  await eventually('they wait', () => polls().every((count) => count > 0));
  one?.store.close();
  // They have seen its last renewal by then.
  const before = polls();
  await eventually('they look again', () => polls().every((count, index) => count > (before[index] ?? 0)));
  const { promise: issued, resolve: issue } = deferred<void>();
  exchange.until = issued;
  // The server expires its lock, which the memory store does not.
  clock.advance(800);
  server.values.delete([...server.values.keys()].find((name) => name.includes(':l:')) ?? '');
  await eventually('one replica exchanges', () => exchange.calls > 0);
  const taken = polls();
  const looked = () => polls().filter((count, index) => count > (taken[index] ?? 0)).length;
  await eventually('the others look again', () => exchange.calls > 1 || looked() === 2);
  issue();
  const tokens = await Promise.all(waiting);
  assert.deepEqual(tokens.map(bearer), ['Bearer token-1', 'Bearer token-1', 'Bearer token-1']);
  assert.equal(exchange.calls, 1);
});

test('a missing credential of the client is the error of the exchange, not of the cache', async (t) => {
  const server = createMemoryStore();
  const { second, counted } = await startReplica(t, server);
  const clientAuth = { method: 'private_key_jwt', privateKey: { env: 'MISSING_SHARED_CACHE_KEY' } } as const;
  const authorizationServer = serverOf({ clientAuth: clientAuth as never });
  const entry = {
    ...entryOf({ route: routeOf({ credential: exchangeCredential({ authorizationServer }) }) }),
    subject: undefined,
  };
  assert.equal(bearer(await second.obtain(entry, exchangeOf('token'), undefined)), 'Bearer token-1');
  assert.equal(counted('lookup', 'error'), 1);
});

test('exchanges alone while the server is down or silent', async (t) => {
  const server = createMemoryStore();
  const { second, counted } = await startReplica(t, server, { timeoutMs: 50 });
  server.fault = 'silent';
  for (let call = 1; call <= 4; call += 1) {
    assert.equal(bearer(await second.obtain(entryOf(), exchangeOf('token'), undefined)), 'Bearer token-1');
  }
  assert.ok(counted('lookup', 'timeout') >= 1);
  assert.ok(counted('lookup', 'timeout') <= 3);
  assert.ok(counted('lookup', 'skipped') >= 1);
});
