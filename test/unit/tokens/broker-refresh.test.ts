import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Session } from '../../../src/tokens/session.ts';
import { routeOf, settle, subjectOf } from './sample.ts';
import { type BrokerSetup, bearerOf, refusalOf, setUpBroker, tokenOf } from './scripted-endpoint.ts';

const route = routeOf();
const alice: Session = { subject: subjectOf('alice'), id: undefined };

/** A token of 115 s: reused for 100 s, refreshed after 80 to 90 s. */
async function setUpToken(random = 0): Promise<BrokerSetup> {
  const setup = setUpBroker();
  setup.random = random;
  setup.broker.lookUp(route, alice);
  await (await setup.request(1)).issue('first', 115);
  return setup;
}

test('a use near expiry returns the token, and starts a refresh in the background', async () => {
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
  test(`with a jitter of ${random}, the first use after ${atMs} ms starts the refresh`, async () => {
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

test('does not refresh an unused token', async () => {
  const { clock, requests } = await setUpToken();
  clock.advance(95_000);
  await settle();
  assert.equal(requests.length, 1);
});

test('fifty uses near expiry start one refresh, and so do later uses while it is in flight', async () => {
  const { broker, clock, requests, request } = await setUpToken();
  clock.advance(90_000);
  for (let i = 0; i < 50; i += 1) assert.equal(broker.lookUp(route, alice).result, 'hit');
  await request(2);
  clock.advance(4000);
  for (let i = 0; i < 50; i += 1) assert.equal(broker.lookUp(route, alice).result, 'hit');
  await settle();
  assert.equal(requests.length, 2);
});

test('callers wait for the refresh in flight when the reuse ends first', async () => {
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

test('keeps the token after a failed refresh, and waits before the next', async () => {
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

test('uses the token until it expires while the authorization server is down', async () => {
  const { broker, clock, request } = await setUpToken();
  for (let number = 2; number < 5; number += 1) {
    clock.advance(number === 2 ? 90_000 : 3000);
    assert.equal(broker.lookUp(route, alice).result, 'hit');
    await (await request(number)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
  }
  clock.advance(4001);
  assert.equal(broker.lookUp(route, alice).result, 'miss');
});

test('drops the token after a refused refresh, and caches the refusal', async () => {
  const { broker, clock, request, evictions } = await setUpToken();
  clock.advance(90_000);
  broker.lookUp(route, alice);
  await (await request(2)).fail(refusalOf('ERR_SUBJECT_TOKEN_INVALID'));
  assert.deepEqual(evictions, ['refused']);
  assert.equal(broker.lookUp(route, alice).result, 'negative');
});

test('keeps the token when the refresh refuses the client', async () => {
  const { broker, clock, request } = await setUpToken();
  clock.advance(90_000);
  broker.lookUp(route, alice);
  await (await request(2)).fail(refusalOf('ERR_CLIENT_REFUSED'));
  assert.equal(broker.lookUp(route, alice).result, 'hit');
});

test('does not refresh when the subject token expires first', async () => {
  const { broker, clock, request, requests } = setUpBroker();
  const session: Session = { subject: subjectOf('carol', clock.wallMs() + 115_000), id: undefined };
  broker.lookUp(route, session);
  await (await request(1)).issue('first', 300);
  clock.advance(99_000);
  assert.equal(broker.lookUp(route, session).result, 'hit');
  await settle();
  assert.equal(requests.length, 1);
});

test('does not refresh with an expired subject token, even when the wall clock jumps', async () => {
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

test('the refresh in flight replaces a token that its backend refused', async () => {
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
