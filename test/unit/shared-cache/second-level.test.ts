import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { exchangeOf as exchangeCredential, routeOf, serverOf } from '../tokens/sample.ts';
import { bearer, entryOf, exchangeOf, issued, NEW_KEY, OLD_KEY, startReplica } from './replica.ts';

/** The token that a replica wrote is in the store. */
const written = (store: ReturnType<typeof createMemoryStore>) =>
  eventually('the token is written', () => [...store.values.keys()].some((name) => name.includes(':t:')));

const released = (store: ReturnType<typeof createMemoryStore>) =>
  eventually('the lock is free', () => ![...store.values.keys()].some((name) => name.includes(':l:')));

test('callers of four cold replicas share one exchange', async (t) => {
  const server = createMemoryStore();
  const replicas = await Promise.all(Array.from({ length: 4 }, () => startReplica(t, server)));
  const exchange = exchangeOf('token');
  const tokens = await Promise.all(replicas.map(({ second }) => second.obtain(entryOf(), exchange, undefined)));
  assert.deepEqual(new Set(tokens.map(bearer)), new Set(['Bearer token-1']));
  assert.equal(exchange.calls, 1);
});

test('a later replica finds the token, with the same end of its reuse', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const one = await startReplica(t, server, { clock });
  const first = await one.second.obtain(entryOf(), exchangeOf('token', clock), undefined);
  await written(server);
  clock.advance(50_000);
  const other = await startReplica(t, server, { clock });
  const found = await other.second.obtain(entryOf(), exchangeOf('unused', clock), undefined);
  assert.equal(bearer(found), 'Bearer token-1');
  assert.ok(found.token.lifetime.reusableUntilMs <= first.token.lifetime.reusableUntilMs);
  assert.ok(found.token.lifetime.reusableUntilMs > first.token.lifetime.reusableUntilMs - 2);
  assert.equal(other.counted('lookup', 'hit'), 1);
});

test('nothing at the server prolongs a token', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const one = await startReplica(t, server, { clock });
  await one.second.obtain(entryOf(), exchangeOf('token', clock), undefined);
  await written(server);
  // The memory store keeps values forever, as a server whose owner removed their expiry.
  clock.advance(86_000);
  const other = await startReplica(t, server, { clock });
  assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('next', clock), undefined)), 'Bearer next-1');
  assert.equal(other.counted('lookup', 'invalid'), 1);
});

test('a shorter max_age of a replica applies to tokens of others', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
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

test('shares a refusal, and asks again after the caller consented', async (t) => {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReplica(t, server), startReplica(t, server)]);
  const refusal = new CambistError('ERR_INTERACTION_REQUIRED', 'refused', {
    claims: '{"acr":"2"}',
    authentication: { acrValues: 'mfa', maxAge: 5 },
    oauthError: 'interaction_required',
    expired: true,
  });
  await assert.rejects(one.second.obtain(entryOf(), exchangeOf(refusal), undefined));
  assert.equal(one.second.isShared(refusal), false);
  await eventually('it is written', () => [...server.values.keys()].some((name) => name.includes(':r:')));
  await released(server);
  const unused = exchangeOf('unused');
  const given = await other.second.obtain(entryOf({ session: 'one' }), unused, undefined).catch((error) => error);
  assert.equal(unused.calls, 0);
  assert.equal(other.second.isShared(given), true);
  const { code, claims, authentication, oauthError, expired } = given as CambistError;
  assert.deepEqual(
    { code, claims, authentication, oauthError, expired },
    {
      code: 'ERR_INTERACTION_REQUIRED',
      claims: '{"acr":"2"}',
      authentication: { acrValues: 'mfa', maxAge: 5 },
      oauthError: 'interaction_required',
      expired: true,
    },
  );
  one.second.consented(entryOf());
  await eventually('it is forgotten', () => ![...server.values.keys()].some((name) => name.includes(':r:')));
  assert.equal(bearer(await other.second.obtain(entryOf(), exchangeOf('token'), undefined)), 'Bearer token-1');
});

test('a refusal does not outlive its ten seconds, whatever the server keeps', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const { second } = await startReplica(t, server, { clock });
  const refusal = new CambistError('ERR_EXCHANGE_REFUSED', 'refused');
  await assert.rejects(second.obtain(entryOf(), exchangeOf(refusal), undefined));
  await released(server);
  clock.advance(10_001);
  assert.equal(bearer(await second.obtain(entryOf(), exchangeOf('token', clock), undefined)), 'Bearer token-1');
});

test('tells a URL for consent only if this config allows it', async (t) => {
  const server = createMemoryStore();
  const { second } = await startReplica(t, server);
  const consent = (hosts: string[]) => entryOf({ route: routeOf({ consent: { hosts, url: undefined } }) });
  const url = 'https://consent.example.com/start';
  const refusal = new CambistError('ERR_CONSENT_REQUIRED', 'refused', { consentUrl: () => url });
  await assert.rejects(second.obtain(consent(['consent.example.com']), exchangeOf(refusal), undefined));
  await released(server);
  const unused = exchangeOf('unused');
  const allowed = await second.obtain(consent(['consent.example.com']), unused, undefined).catch((error) => error);
  assert.equal((allowed as CambistError).consentUrl?.(), url);
  const other = await second.obtain(consent(['other.example.com']), unused, undefined).catch((error) => error);
  assert.equal((other as CambistError).code, 'ERR_CONSENT_REQUIRED');
  assert.equal((other as CambistError).consentUrl, undefined);
});

test('after a failure of the holder, the others exchange for themselves', async (t) => {
  const server = createMemoryStore();
  const [one, ...others] = await Promise.all(Array.from({ length: 3 }, () => startReplica(t, server)));
  let fail: () => void = () => {};
  const failing = exchangeOf(new CambistError('ERR_STS_UNAVAILABLE', 'down'));
  failing.until = new Promise<void>((resolve) => {
    fail = resolve;
  });
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
  let issue = () => {};
  exchange.until = new Promise<void>((resolve) => {
    issue = resolve;
  });
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

test('a refused token is not returned again, even if the server brings it back', async (t) => {
  const server = createMemoryStore();
  const { second } = await startReplica(t, server);
  const { token } = await second.obtain(entryOf(), exchangeOf('bad'), undefined);
  await written(server);
  const kept = [...server.values];
  second.refuse(entryOf(), token);
  await eventually('it is removed', () => ![...server.values.keys()].some((name) => name.includes(':t:')));
  for (const [name, value] of kept) if (name.includes(':t:')) server.values.set(name, value);
  assert.equal(bearer(await second.obtain(entryOf(), exchangeOf('good'), undefined)), 'Bearer good-1');
});

test('a refresh takes the newer token of another replica, and else exchanges', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const [one, other] = await Promise.all([startReplica(t, server, { clock }), startReplica(t, server, { clock })]);
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
  const server = createMemoryStore();
  const { second } = await startReplica(t, server);
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
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReplica(t, server), startReplica(t, server)]);
  const told: string[] = [];
  one.second.onSessionEnded((key) => told.push(`one ${key}`));
  other.second.onSessionEnded((key) => told.push(`other ${key}`));
  const entry = entryOf({ session: 'one' });
  await one.second.obtain(entry, exchangeOf('token'), undefined);
  await written(server);
  one.second.endSession(entry);
  await eventually('it is told', () => told.length > 0);
  assert.deepEqual(told, [`other ${entry.key}`]);
  await eventually('its token is removed', () => ![...server.values.keys()].some((name) => name.includes(':t:')));
});

test('does not share the token of a session that ended meanwhile', async (t) => {
  const server = createMemoryStore();
  const { second } = await startReplica(t, server);
  const exchange = exchangeOf('token');
  let go: () => void = () => {};
  exchange.until = new Promise<void>((resolve) => {
    go = resolve;
  });
  const entry = entryOf({ session: 'one' });
  const pending = second.obtain(entry, exchange, undefined);
  await eventually('it exchanges', () => exchange.calls === 1);
  second.endSession(entry);
  go();
  assert.equal(bearer(await pending), 'Bearer token-1');
  await released(server);
  assert.ok(![...server.values.keys()].some((name) => name.includes(':t:')));
});

test('a session that opens takes over a token', async (t) => {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReplica(t, server), startReplica(t, server)]);
  const { token } = await one.second.obtain(entryOf(), exchangeOf('token'), undefined);
  await written(server);
  one.second.give(entryOf({ session: 'opened' }), token);
  one.second.release(entryOf(), token);
  await eventually('it moved', () => [...server.values.keys()].filter((name) => name.includes(':t:')).length === 1);
  const unused = exchangeOf('unused');
  await eventually('it is found', async () => {
    const found = await other.second.obtain(entryOf({ session: 'opened' }), unused, undefined);
    return bearer(found) === 'Bearer token-1';
  });
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
