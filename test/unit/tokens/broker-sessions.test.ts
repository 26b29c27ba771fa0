import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Session } from '../../../src/tokens/session.ts';
import { exchangeOf, routeOf, serverOf, subjectOf, targetOf } from './sample.ts';
import { bearerOf, setUpBroker, tokenOf } from './scripted-endpoint.ts';

const route = routeOf();
const alice: Session = { subject: subjectOf('alice'), id: undefined };
const bob: Session = { subject: subjectOf('bob'), id: undefined };
const one: Session = { ...alice, id: 'one' };
const two: Session = { ...alice, id: 'two' };

/** Alice has a token, without a session or in one. */
async function setUpToken(session: Session = alice) {
  const setup = setUpBroker();
  const lookup = setup.broker.lookUp(route, session);
  await (await setup.request(1)).issue('token');
  return { ...setup, token: await tokenOf(lookup) };
}

test('the session that was opened takes over the token of its opening, without a second exchange', async () => {
  const { broker, token, requests, evictions, cache } = await setUpToken();
  broker.openSession(route, alice, 'one', token);
  assert.equal(broker.lookUp(route, one).result, 'hit');
  assert.equal(broker.lookUp(route, alice).result, 'miss');
  assert.equal(requests.length, 1);
  assert.equal(cache.size, 1);
  assert.deepEqual(evictions, []);
});

test('the same session id with another subject token gets nothing of it', async () => {
  const { broker, token } = await setUpToken();
  broker.openSession(route, alice, 'one', token);
  assert.equal(broker.lookUp(route, { ...bob, id: 'one' }).result, 'miss');
});

test('two sessions that were opened with one token both have it', async () => {
  const { broker, token, requests } = await setUpToken();
  broker.openSession(route, alice, 'one', token);
  broker.openSession(route, alice, 'two', token);
  assert.equal(broker.lookUp(route, one).result, 'hit');
  assert.equal(broker.lookUp(route, two).result, 'hit');
  assert.equal(requests.length, 1);
});

test('a session that has a token already keeps it', async () => {
  const { broker, token, request } = await setUpToken();
  broker.lookUp(route, one);
  await (await request(2)).issue('own');
  broker.openSession(route, alice, 'one', token);
  assert.equal(await bearerOf(broker.lookUp(route, one)), 'Bearer own');
});

test('a token that its backend refused meanwhile is not taken over', async () => {
  const { broker, token } = await setUpToken();
  broker.refuse(route, alice, token);
  broker.openSession(route, alice, 'one', token);
  assert.equal(broker.lookUp(route, one).result, 'miss');
});

test('a token of our own is no session’s', async () => {
  const { broker, request } = setUpBroker();
  const own = routeOf({
    credential: { kind: 'client_credentials', authorizationServer: serverOf(), target: targetOf() },
  });
  const lookup = broker.lookUp(own, alice);
  await (await request(1)).issue('own');
  broker.openSession(own, alice, 'one', await tokenOf(lookup));
  broker.endSession(own, one, 'client');
  assert.equal(broker.lookUp(own, bob).result, 'hit');
});

test('a session that ends drops its token, and that of no other', async () => {
  const { broker, request, evictions } = await setUpToken(one);
  broker.lookUp(route, two);
  await (await request(2)).issue();
  broker.lookUp(route, alice);
  await (await request(3)).issue();
  broker.endSession(route, one, 'client');
  assert.equal(broker.lookUp(route, one).result, 'miss');
  assert.equal(broker.lookUp(route, two).result, 'hit');
  assert.equal(broker.lookUp(route, alice).result, 'hit');
  assert.deepEqual(evictions, ['session_ended']);
});

test('nobody ends the session of another', async () => {
  const { broker } = await setUpToken(one);
  broker.endSession(route, { ...bob, id: 'one' }, 'client');
  assert.equal(broker.lookUp(route, one).result, 'hit');
});

test('a session that ends on one route goes on at a route with another resource', async () => {
  const { broker, request } = await setUpToken(one);
  const docs = routeOf({ credential: exchangeOf({ target: targetOf({ audience: ['docs'] }) }) });
  broker.lookUp(docs, one);
  await (await request(2)).issue();
  broker.endSession(route, one, 'client');
  assert.equal(broker.lookUp(docs, one).result, 'hit');
});

test('a caller without a session id ends none', async () => {
  const { broker } = await setUpToken();
  broker.endSession(route, alice, 'client');
  assert.equal(broker.lookUp(route, alice).result, 'hit');
});

test('a session that ends during its exchange keeps nothing, and who waits is served', async () => {
  const { broker, request, cache } = setUpBroker();
  const waiting = bearerOf(broker.lookUp(route, one));
  broker.endSession(route, one, 'client');
  await (await request(1)).issue('token');
  assert.equal(await waiting, 'Bearer token');
  assert.equal(cache.size, 0);
});

test('a session that is used again after its end has its token kept', async () => {
  const { broker, request, requests, cache } = setUpBroker();
  broker.lookUp(route, one);
  broker.endSession(route, one, 'client');
  assert.equal(broker.lookUp(route, one).result, 'joined');
  await (await request(1)).issue('token');
  assert.equal(cache.size, 1);
  assert.equal(requests.length, 1);
});

test('a refused token is dropped, and the next look-up asks for another', async () => {
  const { broker, token, request, evictions } = await setUpToken();
  broker.refuse(route, alice, token);
  assert.deepEqual(evictions, ['refused']);
  const next = broker.lookUp(route, alice);
  assert.equal(next.result, 'miss');
  await (await request(2)).issue('second');
  assert.equal(await bearerOf(next), 'Bearer second');
});

test('fifty callers whose token is refused at the same time make one exchange', async () => {
  const { broker, token, request, requests } = await setUpToken();
  const again = Array.from({ length: 50 }, () => {
    broker.refuse(route, alice, token);
    return bearerOf(broker.lookUp(route, alice));
  });
  await (await request(2)).issue('second');
  assert.deepEqual(new Set(await Promise.all(again)), new Set(['Bearer second']));
  broker.refuse(route, alice, token);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer second');
  assert.equal(requests.length, 2);
});

test('a refused token of one session leaves that of another', async () => {
  const { broker, token, request } = await setUpToken(one);
  broker.lookUp(route, two);
  await (await request(2)).issue('second');
  broker.refuse(route, one, token);
  assert.equal(broker.lookUp(route, two).result, 'hit');
});

test('an upstream that refuses each token costs one exchange in ten seconds, and its last token stays', async () => {
  const { broker, token, request, requests, clock } = await setUpToken();
  assert.equal(broker.refuse(route, alice, token), true);
  const second = broker.lookUp(route, alice);
  await (await request(2)).issue('second');
  clock.advance(9999);
  assert.equal(broker.refuse(route, alice, await tokenOf(second)), false);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer second');
  clock.advance(1);
  assert.equal(broker.refuse(route, alice, await tokenOf(second)), true);
  assert.equal(broker.lookUp(route, alice).result, 'miss');
  assert.equal((await request(3)).wanted, 'token');
  assert.equal(requests.length, 3);
});

test('who had an older token refused gets the one that took its place, however soon', async () => {
  const { broker, token, request } = await setUpToken();
  broker.refuse(route, alice, token);
  broker.lookUp(route, alice);
  await (await request(2)).issue('second');
  assert.equal(broker.refuse(route, alice, token), true);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer second');
});

test('an upstream that opens a session with each answer costs one exchange in ten seconds', async () => {
  const { broker, token, request, requests, clock } = await setUpToken();
  broker.openSession(route, alice, 'one', token);
  const second = broker.lookUp(route, alice);
  await (await request(2)).issue('second');
  for (const id of ['two', 'three']) {
    broker.openSession(route, alice, id, await tokenOf(second));
    assert.equal(await bearerOf(broker.lookUp(route, { ...alice, id })), 'Bearer second');
    assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer second');
  }
  clock.advance(10_000);
  broker.openSession(route, alice, 'four', await tokenOf(second));
  assert.equal(broker.lookUp(route, alice).result, 'miss');
  await request(3);
  assert.equal(requests.length, 3);
});

test('an upstream that knows no session costs one exchange in ten seconds, and a client may end its session at any time', async () => {
  const { broker, request, clock } = await setUpToken(one);
  broker.endSession(route, one, 'upstream');
  assert.equal(broker.lookUp(route, one).result, 'miss');
  await (await request(2)).issue();
  clock.advance(9999);
  broker.endSession(route, one, 'upstream');
  assert.equal(broker.lookUp(route, one).result, 'hit');
  broker.endSession(route, one, 'client');
  assert.equal(broker.lookUp(route, one).result, 'miss');
  await (await request(3)).issue();
  clock.advance(1);
  broker.endSession(route, one, 'upstream');
  assert.equal(broker.lookUp(route, one).result, 'miss');
});
