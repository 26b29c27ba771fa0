import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Route } from '../../../src/config/config.ts';
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

test('a token is exchanged once, and then comes from the cache', async () => {
  const { broker, requests, answers, request, outcomes } = setUpBroker();
  const first = broker.lookUp(route, alice);
  await (await request(1)).issue('token');
  assert.equal(await bearerOf(first), 'Bearer token');
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer token');
  assert.equal(requests.length, 1);
  assert.deepEqual(answers, ['github miss', 'github hit']);
  assert.deepEqual(outcomes, [
    {
      route: 'github',
      authorizationServer: 'main',
      refresh: false,
      cause: undefined,
      error: undefined,
      isForOthers: false,
      durationMs: 0,
    },
  ]);
});

test('the exchange has the subject token and its type, and what the route wants', async () => {
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

test('fifty callers at once make one exchange, and all get its token', async () => {
  const { broker, requests, answers, request } = setUpBroker();
  const all = Array.from({ length: 50 }, () => bearerOf(broker.lookUp(route, alice)));
  await (await request(1)).issue('token');
  assert.deepEqual(new Set(await Promise.all(all)), new Set(['Bearer token']));
  assert.equal(requests.length, 1);
  assert.equal(answers.filter((answer) => answer === 'github joined').length, 49);
});

test('fifty callers at once share one failure, and none of them asks again', async () => {
  const { broker, requests, request } = setUpBroker();
  const all = Array.from({ length: 50 }, () => bearerOf(broker.lookUp(route, alice)));
  await (await request(1)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
  assert.deepEqual(new Set(await Promise.all(all)), new Set(['ERR_STS_UNAVAILABLE']));
  await settle();
  assert.equal(requests.length, 1);
});

test('a caller who goes away before the answer disturbs nobody, and a failure that nobody waits for is no crash', async () => {
  const { broker, request } = setUpBroker();
  broker.lookUp(route, alice);
  const staying = bearerOf(broker.lookUp(route, alice));
  await (await request(1)).issue('token');
  assert.equal(await staying, 'Bearer token');
  broker.lookUp(route, bob);
  await (await request(2)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
});

test('after a fault the next caller makes the next exchange', async () => {
  const { broker, request } = setUpBroker();
  const first = bearerOf(broker.lookUp(route, alice));
  await (await request(1)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
  assert.equal(await first, 'ERR_STS_UNAVAILABLE');
  const second = bearerOf(broker.lookUp(route, alice));
  await (await request(2)).issue('token');
  assert.equal(await second, 'Bearer token');
});

test('after an exchange that failed as it began the next caller makes the next exchange', async () => {
  const { broker, request } = setUpBroker();
  const untellable = () => {
    throw new Error('it cannot be told what it is for');
  };
  assert.equal(await bearerOf(broker.lookUp(route, alice, untellable)), 'Error: it cannot be told what it is for');
  const next = bearerOf(broker.lookUp(route, alice));
  await (await request(1)).issue('token');
  assert.equal(await next, 'Bearer token');
});

test('no subject token meets the issued token of another, whatever session id comes with it', async () => {
  const { broker, request } = setUpBroker();
  const first = bearerOf(broker.lookUp(route, { ...alice, id: 'session' }));
  await (await request(1)).issue('for-alice');
  assert.equal(await first, 'Bearer for-alice');
  const second = bearerOf(broker.lookUp(route, { ...bob, id: 'session' }));
  await (await request(2)).issue('for-bob');
  assert.equal(await second, 'Bearer for-bob');
});

test('what fails without a name is an internal error, told and shared', async () => {
  const { broker, request, outcomes } = setUpBroker();
  const failing = bearerOf(broker.lookUp(route, alice));
  const bug = new TypeError('bug');
  await (await request(1)).fail(bug);
  assert.equal(await failing, 'ERR_INTERNAL');
  assert.equal(outcomes[0]?.error?.code, 'ERR_INTERNAL');
  assert.equal(outcomes[0]?.error?.cause, bug);
});

test('an issued token that is not for this backend is given to nobody and not kept', async () => {
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

test('an issued token that is dead when it comes is given to nobody', async () => {
  const { broker, request, clock } = setUpBroker();
  const first = bearerOf(broker.lookUp(route, alice));
  await (await request(1)).issue(jwtOf({ exp: clock.wallMs() / 1000 - 60 }));
  assert.equal(await first, 'ERR_STS_RESPONSE_INVALID');
});

test('a token too short to be kept serves those who wait for it, and the next asks anew', async () => {
  const { broker, request, requests, cache } = setUpBroker();
  const all = [1, 2, 3].map(() => bearerOf(broker.lookUp(route, alice)));
  await (await request(1)).issue('brief', 0);
  assert.deepEqual(await Promise.all(all), ['Bearer brief', 'Bearer brief', 'Bearer brief']);
  assert.equal(cache.size, 0);
  broker.lookUp(route, alice);
  await request(2);
  assert.equal(requests.length, 2);
});

test('a token of five seconds is reused for four', async () => {
  const { broker, request, clock } = setUpBroker();
  broker.lookUp(route, alice);
  await (await request(1)).issue('brief', 5);
  clock.advance(3000);
  assert.equal(broker.lookUp(route, alice).result, 'hit');
  clock.advance(1001);
  assert.equal(broker.lookUp(route, alice).result, 'miss');
});

test('an issued token ends with the subject token that it was exchanged for', async () => {
  const { broker, request, clock } = setUpBroker();
  const session: Session = { subject: subjectOf('carol', clock.wallMs() + 50_000), id: undefined };
  broker.lookUp(route, session);
  await (await request(1)).issue('token', 300);
  clock.advance(39_000);
  assert.equal(broker.lookUp(route, session).result, 'hit');
  clock.jumpWall(11_000);
  assert.equal(broker.lookUp(route, session).result, 'miss');
});

test('eviction does not break an exchange under way', async () => {
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

test('a bound that changes does not break an exchange under way', async () => {
  const { broker, request, cache } = setUpBroker();
  const first = bearerOf(broker.lookUp(route, alice));
  cache.resize(5);
  await (await request(1)).issue('one');
  assert.equal(await first, 'Bearer one');
  assert.equal(broker.lookUp(route, alice).result, 'hit');
});

test('routes without a token of ours are passed by', () => {
  const { broker, requests, answers } = setUpBroker();
  for (const kind of ['none', 'passthrough'] as const) {
    const plain = routeOf({ name: kind, credential: { kind } });
    assert.deepEqual(broker.lookUp(plain, alice), { result: 'bypass' });
    broker.openSession(plain, alice, 'one', { authorization: alice.subject?.token } as never);
    broker.endSession(plain, { ...alice, id: 'one' }, 'client');
  }
  assert.equal(requests.length, 0);
  assert.deepEqual(answers, ['none bypass', 'passthrough bypass']);
});

test('a request without a subject token is refused, or gets a token of our own where the route says so', async () => {
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

test('a token of our own is one for all callers and sessions', async () => {
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

test('two routes that want the same token share it, and the exchange for it', async () => {
  const { broker, request, requests } = setUpBroker();
  const other = routeOf({ name: 'other' });
  const first = bearerOf(broker.lookUp(route, alice));
  assert.equal(broker.lookUp(other, alice).result, 'joined');
  await (await request(1)).issue('token');
  assert.equal(await first, 'Bearer token');
  assert.equal(await bearerOf(broker.lookUp(other, alice)), 'Bearer token');
  assert.equal(requests.length, 1);
});

test('a route that wants another token gets its own', async () => {
  const { broker, request } = setUpBroker();
  const docs = routeOf({ credential: exchangeOf({ target: targetOf({ scope: 'read' }) }) });
  broker.lookUp(route, alice);
  await (await request(1)).issue('github');
  const second = bearerOf(broker.lookUp(docs, alice));
  await (await request(2)).issue('docs');
  assert.equal(await second, 'Bearer docs');
});

test('the actor token is taken as it is at each exchange, and its end is told', async (t) => {
  const { broker, request, credentials } = setUpBroker();
  const folder = folderOf(t);
  const file = folder.write('actor', `${jwtOf({ sub: 'one', exp: 1_900_000_000 })}\n`);
  const delegating = routeOf({ credential: exchangeOf({ actorToken: { source: { file }, type: JWT } }) });
  const actorOf = async (number: number) => {
    const { grant } = await request(number);
    return grant.kind === 'token_exchange' ? grant.actor : undefined;
  };
  broker.lookUp(delegating, alice);
  assert.deepEqual(await actorOf(1), { token: jwtOf({ sub: 'one', exp: 1_900_000_000 }), type: JWT });
  assert.deepEqual(credentials, [['actor token of route "github"', 1_900_000_000]]);
  folder.write('actor', 'opaque');
  broker.lookUp(delegating, bob);
  assert.deepEqual(await actorOf(2), { token: 'opaque', type: JWT });
  assert.equal(credentials.length, 1);
});

test('an actor token that cannot be read is our own trouble, and no request is made', async (t) => {
  const { broker, requests } = setUpBroker();
  const source = { file: `${folderOf(t).path}/absent` };
  const delegating = routeOf({ credential: exchangeOf({ actorToken: { source, type: ACCESS_TOKEN } }) });
  assert.equal(await bearerOf(broker.lookUp(delegating, alice)), 'ERR_CREDENTIAL_UNAVAILABLE');
  assert.equal(requests.length, 0);
});
