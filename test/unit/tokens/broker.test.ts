import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route } from '../../../src/config/route.ts';
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
  subjectOf,
  subjectTokenOf,
  targetOf,
} from './sample.ts';
import { bearerOf, refusalOf, setUpBroker } from './scripted-endpoint.ts';

const route = routeOf();
const alice: Session = { subject: subjectOf('alice'), id: undefined };
const bob: Session = { subject: subjectOf('bob'), id: undefined };
const nobody: Session = { subject: undefined, id: undefined };

test('exchanges a token once, and then returns it from the cache', async () => {
  const { broker, requests, lookups, request, outcomes } = setUpBroker();
  const first = broker.lookUp(route, alice);
  await (await request(1)).issue('token');
  assert.equal(await bearerOf(first), 'Bearer token');
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer token');
  assert.equal(requests.length, 1);
  assert.deepEqual(lookups, ['github miss', 'github hit']);
  const [outcome, ...more] = outcomes;
  assert.deepEqual(more, []);
  const { route: name, authorizationServer, grant, refresh, error, isForOthers } = outcome ?? {};
  assert.deepEqual([name, authorizationServer, grant], ['github', 'main', 'token_exchange']);
  assert.deepEqual([refresh, error, isForOthers], [false, undefined, false]);
});

test('exchanges the subject token with its type for the target of the route', async () => {
  const { broker, request } = setUpBroker();
  broker.lookUp(routeOf({ subjectToken: subjectTokenOf({ header: 'x-user', type: JWT }) }), alice);
  const { grant, target, server } = await request(1);
  assert.deepEqual(grant, {
    kind: 'token_exchange',
    subjectToken: alice.subject?.token.reveal(),
    subjectTokenType: JWT,
    actor: undefined,
  });
  assert.deepEqual(target, targetOf());
  assert.deepEqual(server, serverOf());
});

test('fifty concurrent callers share one exchange', async () => {
  const { broker, requests, lookups, request } = setUpBroker();
  const all = Array.from({ length: 50 }, () => bearerOf(broker.lookUp(route, alice)));
  await (await request(1)).issue('token');
  assert.deepEqual(new Set(await Promise.all(all)), new Set(['Bearer token']));
  assert.equal(requests.length, 1);
  assert.equal(lookups.filter((lookup) => lookup === 'github joined').length, 49);
});

test('fifty concurrent callers share one failure, without a retry', async () => {
  const { broker, requests, request } = setUpBroker();
  const all = Array.from({ length: 50 }, () => bearerOf(broker.lookUp(route, alice)));
  await (await request(1)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
  assert.deepEqual(new Set(await Promise.all(all)), new Set(['ERR_STS_UNAVAILABLE']));
  await settle();
  assert.equal(requests.length, 1);
});

test('a caller that leaves affects no other caller, and an unobserved failure does not crash', async () => {
  const { broker, request } = setUpBroker();
  broker.lookUp(route, alice);
  const staying = bearerOf(broker.lookUp(route, alice));
  await (await request(1)).issue('token');
  assert.equal(await staying, 'Bearer token');
  broker.lookUp(route, bob);
  await (await request(2)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
});

test('starts a new exchange after a fault', async () => {
  const { broker, request } = setUpBroker();
  const first = bearerOf(broker.lookUp(route, alice));
  await (await request(1)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
  assert.equal(await first, 'ERR_STS_UNAVAILABLE');
  const second = bearerOf(broker.lookUp(route, alice));
  await (await request(2)).issue('token');
  assert.equal(await second, 'Bearer token');
});

test('starts a new exchange after one that failed at once', async () => {
  const { broker, request } = setUpBroker();
  const brokenCause = () => {
    throw new Error('the cause is unavailable');
  };
  assert.equal(await bearerOf(broker.lookUp(route, alice, brokenCause)), 'Error: the cause is unavailable');
  const next = bearerOf(broker.lookUp(route, alice));
  await (await request(1)).issue('token');
  assert.equal(await next, 'Bearer token');
});

test('never returns the issued token of another subject token, whatever the session id', async () => {
  const { broker, request } = setUpBroker();
  const first = bearerOf(broker.lookUp(route, { ...alice, id: 'session' }));
  await (await request(1)).issue('for-alice');
  assert.equal(await first, 'Bearer for-alice');
  const second = bearerOf(broker.lookUp(route, { ...bob, id: 'session' }));
  await (await request(2)).issue('for-bob');
  assert.equal(await second, 'Bearer for-bob');
});

test('turns an unknown error into ERR_INTERNAL', async () => {
  const { broker, request, outcomes } = setUpBroker();
  const failing = bearerOf(broker.lookUp(route, alice));
  const bug = new TypeError('bug');
  await (await request(1)).fail(bug);
  assert.equal(await failing, 'ERR_INTERNAL');
  assert.equal(outcomes[0]?.error?.code, 'ERR_INTERNAL');
  assert.equal(outcomes[0]?.error?.cause, bug);
});

test('neither returns nor caches a token for another backend', async () => {
  const { broker, request, requests, cache } = setUpBroker();
  const strict = routeOf({ credential: exchangeOf({ target: targetOf({ expectAudience: ['github'] }) }) });
  const first = bearerOf(broker.lookUp(strict, alice));
  await (await request(1)).issue(jwtOf({ aud: 'docs' }));
  assert.equal(await first, 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.equal(cache.size, 0);
  const second = bearerOf(broker.lookUp(strict, alice));
  await (await request(2)).issue(jwtOf({ aud: 'github' }));
  assert.match(await second, /^Bearer /);
  assert.equal(requests.length, 2);
});

test('does not return a token that was expired on arrival', async () => {
  const { broker, request, clock } = setUpBroker();
  const first = bearerOf(broker.lookUp(route, alice));
  await (await request(1)).issue(jwtOf({ exp: clock.wallMs() / 1000 - 60 }));
  assert.equal(await first, 'ERR_STS_RESPONSE_INVALID');
});

test('returns a token that is too short-lived for the cache to waiting callers only', async () => {
  const { broker, request, requests, cache } = setUpBroker();
  const all = [1, 2, 3].map(() => bearerOf(broker.lookUp(route, alice)));
  await (await request(1)).issue('brief', 0);
  assert.deepEqual(await Promise.all(all), ['Bearer brief', 'Bearer brief', 'Bearer brief']);
  assert.equal(cache.size, 0);
  broker.lookUp(route, alice);
  await request(2);
  assert.equal(requests.length, 2);
});

test('reuses a token of five seconds for four', async () => {
  const { broker, request, clock } = setUpBroker();
  broker.lookUp(route, alice);
  await (await request(1)).issue('brief', 5);
  clock.advance(3000);
  assert.equal(broker.lookUp(route, alice).result, 'hit');
  clock.advance(1001);
  assert.equal(broker.lookUp(route, alice).result, 'miss');
});

test('stops using a token when its subject token expires', async () => {
  const { broker, request, clock } = setUpBroker();
  const session: Session = { subject: subjectOf('carol', clock.wallMs() + 50_000), id: undefined };
  broker.lookUp(route, session);
  await (await request(1)).issue('token', 300);
  clock.advance(39_000);
  assert.equal(broker.lookUp(route, session).result, 'hit');
  clock.jumpWall(11_000);
  assert.equal(broker.lookUp(route, session).result, 'miss');
});

test('an eviction does not break an exchange in flight', async () => {
  const { broker, request, cache } = setUpBroker({ maxEntries: 1 });
  const first = bearerOf(broker.lookUp(route, alice));
  const second = bearerOf(broker.lookUp(route, bob));
  await (await request(1)).issue('one');
  await (await request(2)).issue('two');
  assert.equal(await first, 'Bearer one');
  assert.equal(await second, 'Bearer two');
  assert.equal(cache.size, 1);
  assert.equal(broker.lookUp(route, bob).result, 'hit');
});

test('a new bound does not break an exchange in flight', async () => {
  const { broker, request, cache } = setUpBroker();
  const first = bearerOf(broker.lookUp(route, alice));
  cache.resize(5);
  await (await request(1)).issue('one');
  assert.equal(await first, 'Bearer one');
  assert.equal(broker.lookUp(route, alice).result, 'hit');
});

test('bypasses routes that send no issued token', () => {
  const { broker, requests, lookups } = setUpBroker();
  for (const kind of ['none', 'passthrough'] as const) {
    const plain = routeOf({ name: kind, credential: { kind } });
    assert.deepEqual(broker.lookUp(plain, alice), { result: 'bypass' });
    broker.openSession(plain, alice, 'one', { authorization: alice.subject?.token } as never);
    broker.endSession(plain, { ...alice, id: 'one' }, 'client');
  }
  assert.equal(requests.length, 0);
  assert.deepEqual(lookups, ['none bypass', 'passthrough bypass']);
});

test('refuses a request without a subject token, unless the route allows client credentials', async () => {
  const { broker, request } = setUpBroker();
  assert.throws(() => broker.lookUp(route, nobody), failsWith('ERR_SUBJECT_TOKEN_MISSING', /route "github"/));
  const lenient = routeOf({ credential: exchangeOf({ onMissingSubject: 'client_credentials' }) });
  const own = bearerOf(broker.lookUp(lenient, { subject: undefined, id: 'some-session' }));
  assert.deepEqual((await request(1)).grant, { kind: 'client_credentials' });
  await (await request(1)).issue('own');
  assert.equal(await own, 'Bearer own');
  assert.equal(await bearerOf(broker.lookUp(lenient, nobody)), 'Bearer own');
  broker.lookUp(lenient, alice);
  assert.equal((await request(2)).grant.kind, 'token_exchange');
});

test('all callers and sessions share a token of cambist itself', async () => {
  const { broker, request, requests } = setUpBroker();
  const own: Route = routeOf({
    credential: { kind: 'client_credentials', authorizationServer: serverOf(), target: targetOf() },
  });
  const first = broker.lookUp(own, { ...alice, id: 'one' });
  await (await request(1)).issue('own');
  assert.equal(await bearerOf(first), 'Bearer own');
  for (const session of [alice, bob, nobody, { ...bob, id: 'two' }]) {
    assert.equal(await bearerOf(broker.lookUp(own, session)), 'Bearer own');
  }
  assert.equal(requests.length, 1);
});

test('two routes with the same target share a token and its exchange', async () => {
  const { broker, request, requests } = setUpBroker();
  const other = routeOf({ name: 'other' });
  const first = bearerOf(broker.lookUp(route, alice));
  assert.equal(broker.lookUp(other, alice).result, 'joined');
  await (await request(1)).issue('token');
  assert.equal(await first, 'Bearer token');
  assert.equal(await bearerOf(broker.lookUp(other, alice)), 'Bearer token');
  assert.equal(requests.length, 1);
});

test('a route with another target gets its own token', async () => {
  const { broker, request } = setUpBroker();
  const docs = routeOf({ credential: exchangeOf({ target: targetOf({ scope: 'read' }) }) });
  broker.lookUp(route, alice);
  await (await request(1)).issue('github');
  const second = bearerOf(broker.lookUp(docs, alice));
  await (await request(2)).issue('docs');
  assert.equal(await second, 'Bearer docs');
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
  broker.lookUp(delegating, alice);
  assert.deepEqual(await actorOf(1), { token: jwtOf({ sub: 'one', exp: 1_900_000_000 }), type: JWT });
  assert.deepEqual(credentials, [['actor token of route "github"', 1_900_000_000]]);
  folder.write('actor', 'opaque');
  broker.lookUp(delegating, bob);
  assert.deepEqual(await actorOf(2), { token: 'opaque', type: JWT });
  assert.equal(credentials.length, 1);
});

test('sends no request when the actor token is unreadable', async (t) => {
  const { broker, requests } = setUpBroker();
  const source = { file: `${folderOf(t).path}/absent` };
  const delegating = routeOf({ credential: exchangeOf({ actorToken: { source, type: ACCESS_TOKEN } }) });
  assert.equal(await bearerOf(broker.lookUp(delegating, alice)), 'ERR_CREDENTIAL_UNAVAILABLE');
  assert.equal(requests.length, 0);
});
