import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Session } from '../../../src/tokens/session.ts';
import { routeOf, settle, subjectOf } from './sample.ts';
import { type BrokerSetup, bearerOf, refusalOf, setUpBroker, tokenOf } from './scripted-endpoint.ts';

const route = routeOf();
const alice: Session = { subject: subjectOf('alice'), id: undefined };

/** A token of 115 s: reused for 100, refreshed from the 80th to the 90th on. */
async function setUpToken(random = 0): Promise<BrokerSetup> {
  const setup = setUpBroker();
  setup.random = random;
  setup.broker.lookUp(route, alice);
  await (await setup.request(1)).issue('first', 115);
  return setup;
}

test('a use near the end asks for the next token in the background, and gets this one', async () => {
  const { broker, clock, request, requests, outcomes, evictions } = await setUpToken();
  clock.advance(90_000);
  const lookup = broker.lookUp(route, alice);
  assert.equal(lookup.result, 'hit');
  assert.equal(await bearerOf(lookup), 'Bearer first');
  await (await request(2)).issue('second', 115);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer second');
  assert.equal(requests.length, 2);
  assert.deepEqual(
    outcomes.map(({ refresh }) => refresh),
    [false, true],
  );
  assert.deepEqual(evictions, []);
});

for (const [random, atMs] of [
  [0, 90_000],
  [1, 80_000],
] as const) {
  test(`with a jitter of ${random} the first use after ${atMs} ms refreshes, and none before`, async () => {
    const { broker, clock, requests, request } = await setUpToken(random);
    clock.advance(atMs - 1);
    broker.lookUp(route, alice);
    await settle();
    assert.equal(requests.length, 1);
    clock.advance(1);
    broker.lookUp(route, alice);
    await request(2);
  });
}

test('a token that nobody uses is not refreshed', async () => {
  const { clock, requests } = await setUpToken();
  clock.advance(95_000);
  await settle();
  assert.equal(requests.length, 1);
});

test('fifty uses near the end make one refresh, and so do more while it takes long', async () => {
  const { broker, clock, requests, request } = await setUpToken();
  clock.advance(90_000);
  for (let i = 0; i < 50; i += 1) assert.equal(broker.lookUp(route, alice).result, 'hit');
  await request(2);
  clock.advance(4000);
  for (let i = 0; i < 50; i += 1) assert.equal(broker.lookUp(route, alice).result, 'hit');
  await settle();
  assert.equal(requests.length, 2);
});

test('when the reuse ends before the refresh is there, callers wait for that same refresh', async () => {
  const { broker, clock, requests, request } = await setUpToken();
  clock.advance(90_000);
  broker.lookUp(route, alice);
  clock.advance(11_000);
  const lookup = broker.lookUp(route, alice);
  assert.equal(lookup.result, 'joined');
  await (await request(2)).issue('second', 115);
  assert.equal(await bearerOf(lookup), 'Bearer second');
  assert.equal(requests.length, 2);
});

test('a refresh that fails by a fault keeps the token, and pauses before the next', async () => {
  const { broker, clock, requests, request } = await setUpToken();
  clock.advance(90_000);
  broker.lookUp(route, alice);
  await (await request(2)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
  clock.advance(2999);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer first');
  await settle();
  assert.equal(requests.length, 2);
  clock.advance(1);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer first');
  await (await request(3)).issue('second', 115);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer second');
});

test('while the authorization server is down the token serves to its end, and no further', async () => {
  const { broker, clock, request } = await setUpToken();
  for (let number = 2; number < 5; number += 1) {
    clock.advance(number === 2 ? 90_000 : 3000);
    assert.equal(broker.lookUp(route, alice).result, 'hit');
    await (await request(number)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
  }
  clock.advance(4001);
  assert.equal(broker.lookUp(route, alice).result, 'miss');
});

test('a refresh that is refused drops the token, and the refusal is remembered', async () => {
  const { broker, clock, request, evictions } = await setUpToken();
  clock.advance(90_000);
  broker.lookUp(route, alice);
  await (await request(2)).fail(refusalOf('ERR_SUBJECT_TOKEN_INVALID'));
  assert.deepEqual(evictions, ['refused']);
  assert.equal(broker.lookUp(route, alice).result, 'negative');
});

test('a refresh that is refused because of us keeps the token', async () => {
  const { broker, clock, request } = await setUpToken();
  clock.advance(90_000);
  broker.lookUp(route, alice);
  await (await request(2)).fail(refusalOf('ERR_CLIENT_REFUSED'));
  assert.equal(broker.lookUp(route, alice).result, 'hit');
});

test('there is no refresh towards the end of the subject token, since the next would end with it', async () => {
  const { broker, clock, request, requests } = setUpBroker();
  const session: Session = { subject: subjectOf('carol', clock.wallMs() + 115_000), id: undefined };
  broker.lookUp(route, session);
  await (await request(1)).issue('first', 300);
  clock.advance(99_000);
  assert.equal(broker.lookUp(route, session).result, 'hit');
  await settle();
  assert.equal(requests.length, 1);
});

test('no dead subject token is sent for a refresh, even when the wall clock jumps to its end', async () => {
  const { broker, clock, request, requests } = setUpBroker();
  const session: Session = { subject: subjectOf('carol', clock.wallMs() + 200_000), id: undefined };
  broker.lookUp(route, session);
  await (await request(1)).issue('first', 115);
  clock.advance(95_000);
  clock.jumpWall(105_000);
  assert.equal(broker.lookUp(route, session).result, 'miss');
  await settle();
  assert.equal(requests.length, 2);
});

test('a token that is refused by its backend while a refresh is under way is replaced by that refresh', async () => {
  const { broker, clock, request, requests } = await setUpToken();
  clock.advance(90_000);
  const token = await tokenOf(broker.lookUp(route, alice));
  broker.refuse(route, alice, token);
  const lookup = broker.lookUp(route, alice);
  assert.equal(lookup.result, 'joined');
  await (await request(2)).issue('second', 115);
  assert.equal(await bearerOf(lookup), 'Bearer second');
  assert.equal(requests.length, 2);
});
