import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import type { Session } from '../../../src/tokens/session.ts';
import { exchangeOf, routeOf, serverOf, subjectOf, targetOf } from './sample.ts';
import { bearerOf, refusalOf, setUpBroker } from './scripted-endpoint.ts';

const route = routeOf();
const docs = routeOf({ name: 'docs', credential: exchangeOf({ target: targetOf({ audience: ['docs'] }) }) });
const alice: Session = { subject: subjectOf('alice'), id: undefined };
const bob: Session = { subject: subjectOf('bob'), id: undefined };

const remembered: ErrorCode[] = ['ERR_SUBJECT_TOKEN_INVALID', 'ERR_INTERACTION_REQUIRED', 'ERR_EXCHANGE_REFUSED'];
const forgotten: ErrorCode[] = [
  'ERR_CLIENT_REFUSED',
  'ERR_STS_RESPONSE_INVALID',
  'ERR_STS_UNAVAILABLE',
  'ERR_CREDENTIAL_UNAVAILABLE',
  'ERR_ISSUED_TOKEN_AUDIENCE',
  'ERR_INTERNAL',
];

for (const code of remembered) {
  test(`caches ${code} for ten seconds for a subject token and resource, in all sessions`, async () => {
    const { broker, request, requests, clock, lookups } = setUpBroker();
    const first = bearerOf(broker.lookUp(route, alice));
    await (await request(1)).fail(refusalOf(code));
    assert.equal(await first, code);
    clock.advance(9999);
    for (const id of [undefined, 'one', 'two']) {
      const lookup = broker.lookUp(route, { ...alice, id });
      assert.equal(lookup.result, 'negative');
      assert.equal(await bearerOf(lookup), code);
    }
    assert.equal(requests.length, 1);
    assert.equal(lookups.at(-1), 'github negative');
    clock.advance(2);
    assert.equal(broker.lookUp(route, alice).result, 'miss');
  });
}

for (const code of forgotten) {
  test(`does not cache ${code}`, async () => {
    const { broker, request } = setUpBroker();
    const first = bearerOf(broker.lookUp(route, alice));
    await (await request(1)).fail(refusalOf(code));
    assert.equal(await first, code);
    assert.equal(broker.lookUp(route, alice).result, 'miss');
  });
}

test('a cached refusal affects no other subject token and no other resource', async () => {
  const { broker, request } = setUpBroker();
  broker.lookUp(route, alice);
  await (await request(1)).fail(refusalOf('ERR_EXCHANGE_REFUSED'));
  assert.equal(broker.lookUp(route, bob).result, 'miss');
  assert.equal(broker.lookUp(docs, alice).result, 'miss');
});

test('shares a cached refusal with a route that uses the same token', async () => {
  const { broker, request } = setUpBroker();
  broker.lookUp(route, alice);
  await (await request(1)).fail(refusalOf('ERR_EXCHANGE_REFUSED'));
  assert.equal(broker.lookUp(routeOf({ name: 'other' }), alice).result, 'negative');
});

test('does not cache a refusal of client credentials', async () => {
  const { broker, request } = setUpBroker();
  const own = routeOf({
    credential: { kind: 'client_credentials', authorizationServer: serverOf(), target: targetOf() },
  });
  broker.lookUp(own, alice);
  await (await request(1)).fail(refusalOf('ERR_EXCHANGE_REFUSED'));
  assert.equal(broker.lookUp(own, alice).result, 'miss');
});

test('a session keeps its valid token while another session of the subject is refused', async () => {
  const { broker, request } = setUpBroker();
  broker.lookUp(route, { ...alice, id: 'one' });
  await (await request(1)).issue('token');
  broker.lookUp(route, { ...alice, id: 'two' });
  await (await request(2)).fail(refusalOf('ERR_EXCHANGE_REFUSED'));
  assert.equal(await bearerOf(broker.lookUp(route, { ...alice, id: 'one' })), 'Bearer token');
  assert.equal(broker.lookUp(route, { ...alice, id: 'two' }).result, 'negative');
});
