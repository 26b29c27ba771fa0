import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { exchangeOf as exchangeCredential, routeOf, serverOf } from '../tokens/sample.ts';
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
  startPair,
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
  const secrets = ['the-', 'github', entry.subject?.digest ?? '', entry.key, entry.group];
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

test('opens entries of an older key, and removes them too', async (t) => {
  const server = createMemoryStore();
  const before = await startReplica(t, server, { keys: [OLD_KEY] });
  const { token } = await before.second.obtain(entryOf(), exchangeOf('token'), undefined);
  await written(server);
  const after = await startReplica(t, server, { keys: [NEW_KEY, OLD_KEY] });
  const unused = exchangeOf('unused');
  assert.equal(bearer(await after.second.obtain(entryOf(), unused, undefined)), 'Bearer token-1');
  assert.equal(unused.calls, 0);
  await written(server, 2);
  await released(server);
  after.second.refuse(entryOf(), token);
  await removed(server);
  const gone = await startReplica(t, server, { keys: [NEW_KEY] });
  assert.equal(bearer(await gone.second.obtain(entryOf(), exchangeOf('next'), undefined)), 'Bearer next-1');
});

test('shares no token that is bound to a key of the replica', async (t) => {
  const { server, second } = await startAlone(t);
  const bound = { ...issued('bound'), dpop: { prove: async () => '', learn: () => false } };
  await second.obtain(entryOf(), async () => bound, undefined);
  await released(server);
  assert.ok(namesOf(server, 't').length === 0);
});

test('seals a token for cambist itself under the credential of its client, and shares none without', async (t) => {
  process.env.SHARED_CACHE_TEST_SECRET = 'client-secret';
  t.after(() => {
    delete process.env.SHARED_CACHE_TEST_SECRET;
  });
  const { server, second } = await startAlone(t);
  const own = (clientAuth: ReturnType<typeof serverOf>['clientAuth'], tls?: ReturnType<typeof serverOf>['tls']) => ({
    ...entryOf({
      route: routeOf({ credential: exchangeCredential({ authorizationServer: serverOf({ clientAuth, tls }) }) }),
    }),
    subject: undefined,
  });
  const secret = { env: 'SHARED_CACHE_TEST_SECRET' };
  const shared = own({ method: 'client_secret_post', clientSecret: secret });
  await second.obtain(shared, exchangeOf('token'), undefined);
  await written(server);
  assert.equal(bearer(await second.obtain(shared, exchangeOf('unused'), undefined)), 'Bearer token-1');
  process.env.SHARED_CACHE_TEST_SECRET = 'another-secret';
  await released(server);
  assert.equal(bearer(await second.obtain(shared, exchangeOf('next'), undefined)), 'Bearer next-1');
  const count = server.values.size;
  await second.obtain(own({ method: 'none' }), exchangeOf('alone'), undefined);
  await second.obtain(own({ method: 'tls_client_auth' }), exchangeOf('alone'), undefined);
  assert.equal(server.values.size, count);
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
  const { server, one, other } = await startPair(t);
  const never = exchangeOf('never');
  never.until = new Promise(() => {});
  void one.second.obtain(entryOf(), never, undefined);
  await eventually('it holds the lock', () => never.calls === 1);
  // Its process ends: nothing renews the lock, and the server does not even expire it.
  one.store.close();
  assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('token'), undefined)), 'Bearer token-1');
  const lock = namesOf(server, 'l')[0] ?? '';
  server.values.clear();
  server.values.set(lock, 'forged');
  assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('next'), undefined)), 'Bearer next-1');
  assert.equal(other.counted('lookup', 'invalid'), 1);
});

test('when the holder dies, one replica takes its place, and the others wait for that one', async (t) => {
  const clock = createFakeClock();
  const server = createMemoryStore();
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
  server.values.delete(namesOf(server, 'l')[0] ?? '');
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
  const { second, counted } = await startAlone(t);
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
  const { server, second, counted } = await startAlone(t, { timeoutMs: 50 });
  server.fault = 'silent';
  for (let call = 1; call <= 4; call += 1) {
    assert.equal(bearer(await second.obtain(entryOf(), exchangeOf('token'), undefined)), 'Bearer token-1');
  }
  assert.ok(counted('lookup', 'timeout') >= 1);
  assert.ok(counted('lookup', 'timeout') <= 3);
  assert.ok(counted('lookup', 'skipped') >= 1);
});
