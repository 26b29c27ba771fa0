import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { exchangeOf as exchangeCredential, routeOf, serverOf } from '../tokens/sample.ts';
import { bearer, entryOf, exchangeOf, issued, NEW_KEY, OLD_KEY, startReplica } from './replica.ts';
import { released, written } from './store-waits.ts';

test('finds no token of another caller, route or session', async (t) => {
  const server = createMemoryStore();
  const { second } = await startReplica(t, server);
  await second.obtain(entryOf({ session: 'one' }), exchangeOf('token'), undefined);
  await written(server);
  const docs = routeOf({ credential: exchangeCredential({ authorizationServer: serverOf({ clientId: 'docs' }) }) });
  for (const entry of [
    entryOf({ token: 'bob', session: 'one' }),
    entryOf({ session: 'two' }),
    entryOf({ route: docs }),
  ]) {
    assert.equal(bearer(await second.obtain(entry, exchangeOf('own'), undefined)), 'Bearer own-1');
  }
});

test('a value that was moved, swapped or altered costs an exchange and replaces nothing', async (t) => {
  const server = createMemoryStore();
  const { second, counted } = await startReplica(t, server);
  await second.obtain(entryOf({ token: 'alice' }), exchangeOf('alice'), undefined);
  await second.obtain(entryOf({ token: 'bob' }), exchangeOf('bob'), undefined);
  await eventually(
    'both are written',
    () => [...server.values.keys()].filter((name) => name.includes(':t:')).length === 2,
  );
  await released(server);
  const names = [...server.values.keys()].filter((name) => name.includes(':t:')) as [string, string];
  const [ofAlice, ofBob] = names.map((name) => server.values.get(name) as string) as [string, string];
  for (const [first, second2] of [
    [ofBob, ofAlice],
    [ofAlice.slice(0, 22) + ofBob.slice(22), ofBob.slice(0, 22) + ofAlice.slice(22)],
    ['garbage', ''],
    [`${ofAlice}A`, 'x'.repeat(100_000)],
  ] as const) {
    server.values.set(names[0], first);
    server.values.set(names[1], second2);
    for (const [token, expected] of [
      ['alice', 'Bearer own-1'],
      ['bob', 'Bearer own-1'],
    ] as const) {
      assert.equal(bearer(await second.obtain(entryOf({ token }), exchangeOf('own'), undefined)), expected);
    }
    await released(server);
  }
  assert.ok(counted('lookup', 'invalid') >= 5);
});

test('the store contains no token, digest, name or claim in clear', async (t) => {
  const server = createMemoryStore();
  const { second, messages, records } = await startReplica(t, server);
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
  await eventually(
    'it is written under the new key',
    () => [...server.values.keys()].filter((name) => name.includes(':t:')).length === 2,
  );
  await released(server);
  after.second.refuse(entryOf(), token);
  await eventually('it is removed', () => ![...server.values.keys()].some((name) => name.includes(':t:')));
  const gone = await startReplica(t, server, { keys: [NEW_KEY] });
  assert.equal(bearer(await gone.second.obtain(entryOf(), exchangeOf('next'), undefined)), 'Bearer next-1');
});

test('shares no token that is bound to a key of the replica', async (t) => {
  const server = createMemoryStore();
  const { second } = await startReplica(t, server);
  const bound = { ...issued('bound'), dpop: { prove: async () => '', learn: () => false } };
  await second.obtain(entryOf(), async () => bound, undefined);
  await released(server);
  assert.ok(![...server.values.keys()].some((name) => name.includes(':t:')));
});

test('seals a token for cambist itself under the credential of its client, and shares none without', async (t) => {
  process.env.SHARED_CACHE_TEST_SECRET = 'client-secret';
  t.after(() => {
    delete process.env.SHARED_CACHE_TEST_SECRET;
  });
  const server = createMemoryStore();
  const { second } = await startReplica(t, server);
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
