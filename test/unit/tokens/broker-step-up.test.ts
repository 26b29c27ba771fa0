import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Session } from '../../../src/tokens/session.ts';
import { exchangeOf, routeOf, settle, subjectOf, targetOf } from './sample.ts';
import { type BrokerSetup, bearerOf, refusalOf, setUpBroker, tokenOf } from './scripted-endpoint.ts';

const route = routeOf({
  credential: exchangeOf({ target: targetOf({ scope: 'read' }) }),
  stepUp: ['write', 'admin'],
});
const alice: Session = { subject: subjectOf('alice'), id: 's-1' };

/** A broker whose session has a token with the route's own scope. */
async function setUpNarrow(life = 115): Promise<BrokerSetup & { narrow: Awaited<ReturnType<typeof tokenOf>> }> {
  const setup = setUpBroker();
  const lookup = setup.broker.lookUp(route, alice);
  await (await setup.request(1)).issue('narrow', life);
  return { ...setup, narrow: await tokenOf(lookup) };
}

const scopesOf = ({ requests }: BrokerSetup) => requests.map(({ target }) => target.scope);

test('a token with more scopes replaces the token with fewer', async () => {
  const setup = await setUpNarrow();
  const { broker, narrow, request } = setup;
  const pending = broker.stepUp(route, alice, narrow, ['read', 'write']);
  await (await request(2)).issue('wide', 115);
  const stepped = await pending;
  assert.equal(stepped?.token.authorization.reveal(), 'Bearer wide');
  assert.deepEqual(stepped?.added, ['write']);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer wide');
  assert.deepEqual(scopesOf(setup), ['read', 'read write']);
});

test('requests added scopes again with further scopes and at each refresh', async () => {
  const setup = await setUpNarrow();
  const { broker, narrow, request, clock } = setup;
  const first = broker.stepUp(route, alice, narrow, ['write']);
  await (await request(2)).issue('wide', 115);
  const second = broker.stepUp(route, alice, (await first)?.token ?? narrow, ['admin']);
  await (await request(3)).issue('wider', 115);
  await second;
  clock.advance(95_000);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer wider');
  await (await request(4)).issue('wider still', 115);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer wider still');
  assert.deepEqual(scopesOf(setup), ['read', 'read write', 'read admin write', 'read admin write']);
});

test('concurrent step-ups share one exchange, and later ones get its token', async () => {
  const setup = await setUpNarrow();
  const { broker, narrow, request, requests } = setup;
  const asked = [1, 2, 3].map(() => broker.stepUp(route, alice, narrow, ['write']));
  await (await request(2)).issue('wide', 115);
  for (const one of [...asked, broker.stepUp(route, alice, narrow, ['write'])]) {
    assert.equal((await one)?.token.authorization.reveal(), 'Bearer wide');
  }
  assert.equal(requests.length, 2);
});

test('adds up two step-ups of a session, whichever token they start from', async () => {
  const setup = await setUpNarrow();
  const { broker, narrow, request } = setup;
  const one = broker.stepUp(route, alice, narrow, ['write']);
  await (await request(2)).issue('wide', 115);
  await one;
  const other = broker.stepUp(route, alice, narrow, ['admin']);
  await (await request(3)).issue('wider', 115);
  assert.deepEqual((await other)?.added, ['admin']);
  assert.deepEqual(scopesOf(setup).slice(1), ['read write', 'read admin write']);
});

test('does not step up when a scope is not allowed, or present already', async () => {
  const { broker, narrow, requests } = await setUpNarrow();
  for (const wanted of [[], ['read'], ['other'], ['write', 'other']]) {
    assert.equal(broker.stepUp(route, alice, narrow, wanted), undefined, wanted.join(' '));
  }
  assert.equal(requests.length, 1);
});

test('never adds scopes to a token of cambist itself', async () => {
  const { broker, narrow } = await setUpNarrow();
  const nobody: Session = { subject: undefined, id: undefined };
  const own = routeOf({ ...route, subjectToken: { ...route.subjectToken, file: { file: '/token' } } });
  const credential = { ...exchangeOf(), kind: 'client_credentials' } as ReturnType<typeof exchangeOf>;
  const fallback = routeOf({ ...route, credential: exchangeOf({ onMissingSubject: 'client_credentials' }) });
  assert.equal(broker.stepUp(own, alice, narrow, ['write']), undefined);
  assert.equal(broker.stepUp(routeOf({ ...route, credential }), alice, narrow, ['write']), undefined);
  assert.equal(broker.stepUp(fallback, nobody, narrow, ['write']), undefined);
});

test('a refused step-up keeps the narrow token, and is not retried for a while', async () => {
  const setup = await setUpNarrow();
  const { broker, narrow, request, clock, requests } = setup;
  const refused = assert.rejects(async () => broker.stepUp(route, alice, narrow, ['write']), {
    code: 'ERR_EXCHANGE_REFUSED',
  });
  await (await request(2)).fail(refusalOf('ERR_EXCHANGE_REFUSED'));
  await refused;
  assert.equal(broker.stepUp(route, alice, narrow, ['write']), undefined);
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer narrow');
  clock.advance(11_000);
  assert.notEqual(broker.stepUp(route, alice, narrow, ['write']), undefined);
  await request(3);
  assert.equal(requests.length, 3);
});

test('does not cache a step-up that completes after its session is over', async () => {
  const { broker, narrow, request, cache } = await setUpNarrow();
  const pending = broker.stepUp(route, alice, narrow, ['write']);
  const asked = await request(2);
  broker.endSession(route, alice, 'client');
  await asked.issue('wide', 115);
  assert.equal((await pending)?.token.authorization.reveal(), 'Bearer wide');
  assert.equal(cache.size, 0);
});

test('steps up from the presented token when the cache has lost it', async () => {
  const setup = await setUpNarrow();
  const { broker, narrow, request } = setup;
  broker.refuse(route, alice, narrow);
  const pending = broker.stepUp(route, alice, narrow, ['write']);
  await (await request(2)).issue('wide', 115);
  assert.equal((await pending)?.token.authorization.reveal(), 'Bearer wide');
  await settle();
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer wide');
});

test('a session id that contains scopes does not get the wider token of another session', async () => {
  const setup = await setUpNarrow();
  const { broker, narrow, request } = setup;
  void broker.stepUp(route, alice, narrow, ['write']);
  await request(2);
  const other = broker.lookUp(route, { ...alice, id: `${alice.id} write` });
  assert.equal(other.result, 'miss');
  await (await request(3)).issue('narrow as well', 115);
  assert.equal(await bearerOf(other), 'Bearer narrow as well');
  assert.deepEqual(scopesOf(setup), ['read', 'read write', 'read']);
});
