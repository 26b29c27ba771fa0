import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchangeOf, routeOf, settle, targetOf } from './sample.ts';
import { ALICE, bearerOf, setUpToken } from './scripted-endpoint.ts';

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
