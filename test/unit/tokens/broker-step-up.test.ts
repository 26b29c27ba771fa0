import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchangeOf, routeOf, settle, targetOf } from './sample.ts';
import { ALICE, bearerOf, refusalOf, setUpToken } from './scripted-endpoint.ts';

const route = routeOf({
  credential: exchangeOf({ target: targetOf({ scope: 'read' }) }),
  stepUp: ['write', 'admin'],
});
const alice = { ...ALICE, id: 's-1' };

async function setUpNarrow() {
  const { token: narrow, ...setup } = await setUpToken(route, alice, 'narrow', 115);
  const stepUp = (wanted: readonly string[], from = narrow) => setup.broker.stepUp(route, alice, from, wanted);
  const cached = () => bearerOf(setup.broker.lookUp(route, alice));
  const scopes = () => setup.requests.map(({ target }) => target.scope);
  return { ...setup, narrow, stepUp, cached, scopes };
}

test('a token with more scopes replaces the token with fewer', async () => {
  const { stepUp, issue, cached, scopes } = await setUpNarrow();
  const pending = stepUp(['read', 'write']);
  await issue(2, 'wide', 115);
  const stepped = await pending;
  assert.equal(stepped?.token.authorization.reveal(), 'Bearer wide');
  assert.deepEqual(stepped?.added, ['write']);
  assert.equal(await cached(), 'Bearer wide');
  assert.deepEqual(scopes(), ['read', 'read write']);
});

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

test('does not step up when a scope is not allowed, or present already', async () => {
  const { stepUp, requests } = await setUpNarrow();
  for (const wanted of [[], ['read'], ['other'], ['write', 'other']]) {
    assert.equal(stepUp(wanted), undefined, wanted.join(' '));
  }
  assert.equal(requests.length, 1);
});

test('never adds scopes to a token of cambist itself', async () => {
  const { broker, narrow } = await setUpNarrow();
  const own = routeOf({ ...route, subjectToken: { ...route.subjectToken, own: { file: '/token' } } });
  const credential = { ...exchangeOf(), kind: 'client_credentials' } as ReturnType<typeof exchangeOf>;
  const fallback = routeOf({ ...route, credential: exchangeOf({ onMissingSubject: 'client_credentials' }) });
  for (const [on, session] of [
    [own, alice],
    [routeOf({ ...route, credential }), alice],
    [fallback, { subject: undefined, id: undefined }],
  ] as const) {
    assert.equal(broker.stepUp(on, session, narrow, ['write']), undefined);
  }
});

test('a refused step-up keeps the narrow token, and is not retried for a while', async () => {
  const { stepUp, fail, cached, request, clock, requests } = await setUpNarrow();
  const refused = assert.rejects(async () => stepUp(['write']), { code: 'ERR_EXCHANGE_REFUSED' });
  await fail(2, refusalOf('ERR_EXCHANGE_REFUSED'));
  await refused;
  assert.equal(stepUp(['write']), undefined);
  assert.equal(await cached(), 'Bearer narrow');
  clock.advance(11_000);
  assert.notEqual(stepUp(['write']), undefined);
  await request(3);
  assert.equal(requests.length, 3);
});

test('does not cache a step-up that completes after its session is over', async () => {
  const { broker, stepUp, request, cache } = await setUpNarrow();
  const pending = stepUp(['write']);
  const asked = await request(2);
  broker.endSession(route, alice, 'client');
  await asked.issue('wide', 115);
  assert.equal((await pending)?.token.authorization.reveal(), 'Bearer wide');
  assert.equal(cache.size, 0);
});

test('steps up from the presented token when the cache has lost it', async () => {
  const { broker, narrow, stepUp, issue, cached } = await setUpNarrow();
  broker.dropRefused(route, alice, narrow);
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
  const other = broker.lookUp(route, { ...alice, id: `${alice.id} write` });
  assert.equal(other.result, 'miss');
  await issue(3, 'narrow as well', 115);
  assert.equal(await bearerOf(other), 'Bearer narrow as well');
  assert.deepEqual(scopes(), ['read', 'read write', 'read']);
});
