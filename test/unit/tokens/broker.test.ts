import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import type { Session } from '../../../src/tokens/session.ts';
import {
  ACCESS_TOKEN,
  exchangeOf,
  failsWith,
  folderOf,
  JWT,
  jwtOf,
  routeOf,
  serverOf,
  subjectTokenOf,
  targetOf,
} from './sample.ts';
import { ALICE, BOB, bearerOf, refusalOf, setUpBroker, setUpToken } from './scripted-endpoint.ts';

/** Times, evictions, and what callers and sessions share are compared with a model: see cache-model.test.ts. */

const route = routeOf();
const anonymous: Session = { subject: undefined, id: undefined };
const one: Session = { ...ALICE, id: 'one' };

test('exchanges a token once, and then returns it from the cache', async () => {
  const { broker, requests, lookups, issue, outcomes } = setUpBroker();
  const first = broker.lookUp(route, ALICE);
  await issue(1, 'token');
  assert.equal(await bearerOf(first), 'Bearer token');
  assert.equal(await bearerOf(broker.lookUp(route, ALICE)), 'Bearer token');
  assert.equal(requests.length, 1);
  assert.deepEqual(lookups, ['github miss', 'github hit']);
  const [{ route: name, authorizationServer, grant, refresh, error, isForOthers } = assert.fail(), ...more] = outcomes;
  assert.deepEqual([name, authorizationServer, grant], ['github', 'main', 'token_exchange']);
  assert.deepEqual([refresh, error, isForOthers, more], [false, undefined, false, []]);
});

test('exchanges the subject token with its type for the target of the route', async () => {
  const { broker, request } = setUpBroker();
  broker.lookUp(routeOf({ subjectToken: subjectTokenOf({ header: 'x-user', type: JWT }) }), ALICE);
  const { grant, target, server } = await request(1);
  assert.deepEqual(grant, {
    kind: 'token_exchange',
    subjectToken: ALICE.subject?.token.reveal(),
    subjectTokenType: JWT,
    actor: undefined,
  });
  assert.deepEqual(target, targetOf());
  assert.deepEqual(server, serverOf());
});

test('survives a failure that no caller waits for', async () => {
  const { broker, fail } = setUpBroker();
  broker.lookUp(route, ALICE);
  await fail(1, refusalOf('ERR_STS_UNAVAILABLE'));
});

test('starts a new exchange after one that failed at once', async () => {
  const { broker, issue } = setUpBroker();
  const brokenCause = () => {
    throw new Error('the cause is unavailable');
  };
  assert.equal(await bearerOf(broker.lookUp(route, ALICE, brokenCause)), 'Error: the cause is unavailable');
  const next = bearerOf(broker.lookUp(route, ALICE));
  await issue(1, 'token');
  assert.equal(await next, 'Bearer token');
});

test('turns an unknown error into ERR_INTERNAL', async () => {
  const { broker, fail, outcomes } = setUpBroker();
  const failing = bearerOf(broker.lookUp(route, ALICE));
  const bug = new TypeError('bug');
  await fail(1, bug);
  assert.equal(await failing, 'ERR_INTERNAL');
  assert.equal(outcomes[0]?.error?.code, 'ERR_INTERNAL');
  assert.equal(outcomes[0]?.error?.cause, bug);
});

const CACHED: readonly ErrorCode[] = [
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_INTERACTION_REQUIRED',
  'ERR_CONSENT_REQUIRED',
  'ERR_EXCHANGE_REFUSED',
];
const PASSING: readonly ErrorCode[] = [
  'ERR_CLIENT_REFUSED',
  'ERR_STS_RESPONSE_INVALID',
  'ERR_STS_UNAVAILABLE',
  'ERR_CREDENTIAL_UNAVAILABLE',
  'ERR_ISSUED_TOKEN_AUDIENCE',
  'ERR_INTERNAL',
];
for (const code of [...CACHED, ...PASSING]) {
  const result = CACHED.includes(code) ? 'negative' : 'miss';
  test(`the next lookup after ${code} is a ${result}, in each session of the caller`, async () => {
    const { broker, fail } = setUpBroker();
    const first = bearerOf(broker.lookUp(route, ALICE));
    await fail(1, refusalOf(code));
    assert.equal(await first, code);
    for (const session of [ALICE, one]) assert.equal(broker.lookUp(route, session).result, result);
    assert.equal(broker.lookUp(route, BOB).result, 'miss');
  });
}

test('bypasses routes that send no issued token', () => {
  const { broker, requests, lookups } = setUpBroker();
  for (const kind of ['none', 'passthrough'] as const) {
    const plain = routeOf({ name: kind, credential: { kind } });
    assert.deepEqual(broker.lookUp(plain, ALICE), { result: 'bypass' });
    broker.openSession(plain, ALICE, 'one', { authorization: ALICE.subject?.token } as never);
    broker.endSession(plain, one, 'client');
  }
  assert.equal(requests.length, 0);
  assert.deepEqual(lookups, ['none bypass', 'passthrough bypass']);
});

test('refuses a request without a subject token, unless the route allows client credentials', async () => {
  const { broker, request, issue } = setUpBroker();
  assert.throws(() => broker.lookUp(route, anonymous), failsWith('ERR_SUBJECT_TOKEN_MISSING', /route "github"/));
  const lenient = routeOf({ credential: exchangeOf({ onMissingSubject: 'client_credentials' }) });
  const first = bearerOf(broker.lookUp(lenient, { subject: undefined, id: 'some-session' }));
  assert.deepEqual((await request(1)).grant, { kind: 'client_credentials' });
  await issue(1, 'own');
  assert.equal(await first, 'Bearer own');
  assert.equal(await bearerOf(broker.lookUp(lenient, anonymous)), 'Bearer own');
  broker.lookUp(lenient, ALICE);
  assert.equal((await request(2)).grant.kind, 'token_exchange');
});

test('reads the actor token at each exchange, and reports its expiry', async (t) => {
  const { broker, request, credentials } = setUpBroker();
  const folder = folderOf(t);
  const file = folder.write('actor', `${jwtOf({ sub: 'one', exp: 1_900_000_000 })}\n`);
  const delegating = routeOf({ credential: exchangeOf({ actorToken: { source: { file }, type: JWT } }) });
  const actorOf = async (number: number) => {
    const { grant } = await request(number);
    const actor = grant.kind === 'token_exchange' ? grant.actor : undefined;
    return actor && { token: actor.token, type: actor.type };
  };
  broker.lookUp(delegating, ALICE);
  assert.deepEqual(await actorOf(1), { token: jwtOf({ sub: 'one', exp: 1_900_000_000 }), type: JWT });
  assert.deepEqual(credentials, [['actor token of route "github"', 1_900_000_000]]);
  folder.write('actor', 'opaque');
  broker.lookUp(delegating, BOB);
  assert.deepEqual(await actorOf(2), { token: 'opaque', type: JWT });
  assert.equal(credentials.length, 1);
});

test('sends no request when the actor token is unreadable', async (t) => {
  const { broker, requests } = setUpBroker();
  const source = { file: `${folderOf(t).path}/absent` };
  const delegating = routeOf({ credential: exchangeOf({ actorToken: { source, type: ACCESS_TOKEN } }) });
  assert.equal(await bearerOf(broker.lookUp(delegating, ALICE)), 'ERR_CREDENTIAL_UNAVAILABLE');
  assert.equal(requests.length, 0);
});

test('a session that ends during its exchange caches no token, unless it is used again', async () => {
  for (const isUsed of [false, true]) {
    const { broker, issue, cache } = setUpBroker();
    const waiting = bearerOf(broker.lookUp(route, one));
    broker.endSession(route, one, 'client');
    if (isUsed) assert.equal(broker.lookUp(route, one).result, 'joined');
    await issue(1, 'token');
    assert.equal(await waiting, 'Bearer token');
    assert.equal(cache.size, isUsed ? 1 : 0);
  }
});

test('a use near expiry returns the token, and starts a refresh in the background', async () => {
  const { broker, clock, issue, outcomes, evictions } = await setUpToken(route, ALICE, 'first', 115);
  clock.advance(90_000);
  assert.equal(await bearerOf(broker.lookUp(route, ALICE)), 'Bearer first');
  await issue(2, 'second', 115);
  assert.equal(await bearerOf(broker.lookUp(route, ALICE)), 'Bearer second');
  assert.deepEqual(
    outcomes.map(({ refresh }) => refresh),
    [false, true],
  );
  assert.deepEqual(evictions, []);
});

test('keeps the token after a failed refresh, and waits three seconds before the next', async () => {
  const { broker, clock, issue, fail, requests } = await setUpToken(route, ALICE, 'first', 115);
  clock.advance(90_000);
  broker.lookUp(route, ALICE);
  await fail(2, refusalOf('ERR_STS_UNAVAILABLE'));
  clock.advance(2999);
  assert.equal(await bearerOf(broker.lookUp(route, ALICE)), 'Bearer first');
  assert.equal(requests.length, 2);
  clock.advance(1);
  assert.equal(await bearerOf(broker.lookUp(route, ALICE)), 'Bearer first');
  await issue(3, 'second', 115);
});
