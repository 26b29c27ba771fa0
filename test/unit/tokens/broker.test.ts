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
  settle,
  subjectTokenOf,
  targetOf,
} from './sample.ts';
import { ALICE, BOB, bearerOf, refusalOf, setUpBroker, setUpToken } from './scripted-endpoint.ts';

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

test('shares a token between routes for one resource, and with no other caller, session or resource', async () => {
  const { broker } = await setUpToken(route, ALICE);
  const docs = routeOf({ credential: exchangeOf({ target: targetOf({ audience: ['docs'] }) }) });
  assert.equal(broker.lookUp(routeOf({ name: 'same' }), ALICE).result, 'hit');
  const others = [broker.lookUp(route, BOB), broker.lookUp(route, one), broker.lookUp(docs, ALICE)];
  assert.deepEqual(
    others.map(({ result }) => result),
    Array(3).fill('miss'),
  );
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
    const { broker, fail, clock } = setUpBroker();
    const first = bearerOf(broker.lookUp(route, ALICE));
    await fail(1, refusalOf(code));
    assert.equal(await first, code);
    clock.advance(code === 'ERR_CONSENT_REQUIRED' ? 1000 : 10_000);
    for (const session of [ALICE, one]) assert.equal(broker.lookUp(route, session).result, result);
    clock.advance(1);
    if (result === 'negative') assert.equal(broker.lookUp(route, ALICE).result, 'miss');
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

test('a use near expiry returns the token, and starts one refresh in the background', async () => {
  const { broker, clock, issue, outcomes, evictions, requests } = await setUpToken(route, ALICE, 'first', 115);
  clock.advance(89_999);
  broker.lookUp(route, ALICE);
  await settle();
  assert.equal(requests.length, 1);
  for (const ms of [1, 5000]) {
    clock.advance(ms);
    assert.equal(await bearerOf(broker.lookUp(route, ALICE)), 'Bearer first');
  }
  await settle();
  assert.equal(requests.length, 2);
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

const stepUpRoute = routeOf({
  credential: exchangeOf({ target: targetOf({ scope: 'read' }) }),
  stepUp: ['write', 'admin'],
});
const alice = { ...ALICE, id: 's-1' };

async function setUpNarrow() {
  const { token: narrow, ...setup } = await setUpToken(stepUpRoute, alice, 'narrow', 115);
  const stepUp = (wanted: readonly string[], from = narrow) => setup.broker.stepUp(stepUpRoute, alice, from, wanted);
  const cached = () => bearerOf(setup.broker.lookUp(stepUpRoute, alice));
  const scopes = () => setup.requests.map(({ target }) => target.scope);
  return { ...setup, narrow, stepUp, cached, scopes };
}

test('requests added scopes again with further scopes and at each refresh', async () => {
  const { stepUp, issue, cached, clock, scopes } = await setUpNarrow();
  const first = stepUp(['write']);
  await issue(2, 'wide', 115);
  const second = stepUp(['admin'], (await first)?.token);
  await issue(3, 'wider', 115);
  await second;
  clock.advance(95_000);
  assert.equal(await cached(), 'Bearer wider');
  await issue(4, 'wider still', 115);
  assert.equal(await cached(), 'Bearer wider still');
  assert.deepEqual(scopes(), ['read', 'read write', 'read admin write', 'read admin write']);
});

test('concurrent step-ups share one exchange, and later ones get its token', async () => {
  const { stepUp, issue, requests } = await setUpNarrow();
  const asked = [1, 2, 3].map(() => stepUp(['write']));
  await issue(2, 'wide', 115);
  for (const one of [...asked, stepUp(['write'])]) {
    assert.equal((await one)?.token.authorization.reveal(), 'Bearer wide');
  }
  assert.equal(requests.length, 2);
});

test('adds up two step-ups of a session, whichever token they start from', async () => {
  const { stepUp, issue, scopes } = await setUpNarrow();
  const one = stepUp(['write']);
  await issue(2, 'wide', 115);
  await one;
  const other = stepUp(['admin']);
  await issue(3, 'wider', 115);
  assert.deepEqual((await other)?.added, ['admin']);
  assert.deepEqual(scopes().slice(1), ['read write', 'read admin write']);
});

test('never adds scopes to a token of cambist itself', async () => {
  const { broker, narrow } = await setUpNarrow();
  const own = routeOf({ ...stepUpRoute, subjectToken: { ...stepUpRoute.subjectToken, own: { file: '/token' } } });
  const credential = { ...exchangeOf(), kind: 'client_credentials' } as ReturnType<typeof exchangeOf>;
  const fallback = routeOf({ ...stepUpRoute, credential: exchangeOf({ onMissingSubject: 'client_credentials' }) });
  for (const [on, session] of [
    [own, alice],
    [routeOf({ ...stepUpRoute, credential }), alice],
    [fallback, { subject: undefined, id: undefined }],
  ] as const) {
    assert.equal(broker.stepUp(on, session, narrow, ['write']), undefined);
  }
});

test('does not cache a step-up that completes after its session is over', async () => {
  const { broker, stepUp, request, cache } = await setUpNarrow();
  const pending = stepUp(['write']);
  const asked = await request(2);
  broker.endSession(stepUpRoute, alice, 'client');
  await asked.issue('wide', 115);
  assert.equal((await pending)?.token.authorization.reveal(), 'Bearer wide');
  assert.equal(cache.size, 0);
});

test('steps up from the presented token when the cache has lost it', async () => {
  const { broker, narrow, stepUp, issue, cached } = await setUpNarrow();
  broker.dropRefused(stepUpRoute, alice, narrow);
  const pending = stepUp(['write']);
  await issue(2, 'wide', 115);
  assert.equal((await pending)?.token.authorization.reveal(), 'Bearer wide');
  await settle();
  assert.equal(await cached(), 'Bearer wide');
});

test('a session id that contains scopes does not get the wider token of another session', async () => {
  const { broker, stepUp, request, issue, scopes } = await setUpNarrow();
  void stepUp(['write']);
  await request(2);
  const other = broker.lookUp(stepUpRoute, { ...alice, id: `${alice.id} write` });
  assert.equal(other.result, 'miss');
  await issue(3, 'narrow as well', 115);
  assert.equal(await bearerOf(other), 'Bearer narrow as well');
  assert.deepEqual(scopes(), ['read', 'read write', 'read']);
});
