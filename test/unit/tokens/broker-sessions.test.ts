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

/** A broker where Alice has a token, with or without a session. */
async function setUpToken(session: Session = alice) {
  const setup = setUpBroker();
  const lookup = setup.broker.lookUp(route, session);
  await (await setup.request(1)).issue('token');
  return { ...setup, token: await tokenOf(lookup) };
}

test('a new session takes over the token of the request that opened it', async () => {
  const { broker, token, requests, evictions, cache } = await setUpToken();
  broker.openSession(route, alice, 'one', token);
  assert.equal(broker.lookUp(route, one).result, 'hit');
  assert.equal(broker.lookUp(route, alice).result, 'miss');
  assert.equal(requests.length, 1);
  assert.equal(cache.size, 1);
  assert.deepEqual(evictions, []);
});

test('does not share a token with another subject that sends the same session id', async () => {
  const { broker, token } = await setUpToken();
  broker.openSession(route, alice, 'one', token);
  assert.equal(broker.lookUp(route, { ...bob, id: 'one' }).result, 'miss');
});

test('two sessions that were opened with one token share it', async () => {
  const { broker, token, requests } = await setUpToken();
  broker.openSession(route, alice, 'one', token);
  broker.openSession(route, alice, 'two', token);
  assert.equal(broker.lookUp(route, one).result, 'hit');
  assert.equal(broker.lookUp(route, two).result, 'hit');
  assert.equal(requests.length, 1);
});

test('a session keeps a token that it already has', async () => {
  const { broker, token, request } = await setUpToken();
  broker.lookUp(route, one);
  await (await request(2)).issue('own');
  broker.openSession(route, alice, 'one', token);
  assert.equal(await bearerOf(broker.lookUp(route, one)), 'Bearer own');
});

test('a new session does not take over a refused token', async () => {
  const { broker, token } = await setUpToken();
  broker.refuse(route, alice, token);
  broker.openSession(route, alice, 'one', token);
  assert.equal(broker.lookUp(route, one).result, 'miss');
});

test('a session does not take over a token of cambist itself', async () => {
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

test('the end of a session drops its token only', async () => {
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

test('a caller cannot end the session of another caller', async () => {
  const { broker } = await setUpToken(one);
  broker.endSession(route, { ...bob, id: 'one' }, 'client');
  assert.equal(broker.lookUp(route, one).result, 'hit');
});

test('the end of a session on one route keeps its token for another resource', async () => {
  const { broker, request } = await setUpToken(one);
  const docs = routeOf({ credential: exchangeOf({ target: targetOf({ audience: ['docs'] }) }) });
  broker.lookUp(docs, one);
  await (await request(2)).issue();
  broker.endSession(route, one, 'client');
  assert.equal(broker.lookUp(docs, one).result, 'hit');
});

test('a request without a session id ends no session', async () => {
  const { broker } = await setUpToken();
  broker.endSession(route, alice, 'client');
  assert.equal(broker.lookUp(route, alice).result, 'hit');
});

test('a session that ends during its exchange caches no token, but waiting requests get it', async () => {
  const { broker, request, cache } = setUpBroker();
  const waiting = bearerOf(broker.lookUp(route, one));
  broker.endSession(route, one, 'client');
  await (await request(1)).issue('token');
  assert.equal(await waiting, 'Bearer token');
  assert.equal(cache.size, 0);
});

test('a session that is used again after it was over caches its token', async () => {
  const { broker, request, requests, cache } = setUpBroker();
  broker.lookUp(route, one);
  broker.endSession(route, one, 'client');
  assert.equal(broker.lookUp(route, one).result, 'joined');
  await (await request(1)).issue('token');
  assert.equal(cache.size, 1);
  assert.equal(requests.length, 1);
});

test('drops a refused token, and exchanges a new one at the next lookup', async () => {
  const { broker, token, request, evictions } = await setUpToken();
  broker.refuse(route, alice, token);
  assert.deepEqual(evictions, ['refused']);
  const next = broker.lookUp(route, alice);
  assert.equal(next.result, 'miss');
  await (await request(2)).issue('second');
  assert.equal(await bearerOf(next), 'Bearer second');
});

test('fifty callers with the same refused token share one exchange', async () => {
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

test('a refused token of one session does not affect another session', async () => {
  const { broker, token, request } = await setUpToken(one);
  broker.lookUp(route, two);
  await (await request(2)).issue('second');
  broker.refuse(route, one, token);
  assert.equal(broker.lookUp(route, two).result, 'hit');
});

test('an upstream that refuses every token costs one exchange in ten seconds, and its last token stays', async () => {
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
  assert.equal((await request(3)).expect, 'token');
  assert.equal(requests.length, 3);
});

test('a caller with an older refused token gets its replacement at once', async () => {
  const { broker, token, request } = await setUpToken();
  broker.refuse(route, alice, token);
  broker.lookUp(route, alice);
  await (await request(2)).issue('second');
  assert.equal(broker.refuse(route, alice, token), true);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer second');
});

test('an upstream that opens a session with each response costs one exchange in ten seconds', async () => {
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

test('each of ten sessions that share a token has a cache entry, because each can end first', async () => {
  const { broker, token, request, cache } = await setUpToken();
  broker.openSession(route, alice, 'session-0', token);
  const second = broker.lookUp(route, alice);
  await (await request(2)).issue('second');
  const ids = Array.from({ length: 10 }, (_, index) => `session-${index + 1}`);
  for (const id of ids) broker.openSession(route, alice, id, await tokenOf(second));
  assert.equal(cache.size, 1 + 1 + ids.length);
  broker.endSession(route, { ...alice, id: 'session-1' }, 'client');
  assert.equal(await bearerOf(broker.lookUp(route, { ...alice, id: 'session-2' })), 'Bearer second');
  assert.equal(cache.size, 1 + ids.length);
});

test('an upstream that ends sessions costs one exchange in ten seconds, and a client may end its session at any time', async () => {
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
