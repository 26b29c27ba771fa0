import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chainOf, exchangeOf, folderOf, JWT, jwtOf, routeOf, subjectTokenOf, targetOf } from './sample.ts';
import { ALICE, BOB, bearerOf, refusalOf, setUpBroker, setUpToken, tokenOf } from './scripted-endpoint.ts';

const SECOND = 'https://idp.example.com';
const assertion = (name = 'one', fields: object = {}) => jwtOf({ aud: SECOND, jti: name, ...fields });

const route = routeOf({ credential: exchangeOf({ chain: chainOf(), target: targetOf({ scope: 'read' }) }) });
/** The error for an assertion, which belongs to cambist. */
const REFUSED_ASSERTION = refusalOf('ERR_CLIENT_REFUSED', 'invalid_grant');

/** A broker that has an assertion for Alice, and had a token of ten seconds a minute ago. */
async function setUpChain(text: (nowSeconds: number) => string = () => assertion()) {
  const setup = setUpBroker();
  const first = setup.broker.lookUp(route, ALICE);
  await setup.issue(1, text(setup.clock.wallMs() / 1000));
  await setup.issue(2, 'one', 10);
  await tokenOf(first);
  setup.clock.advance(60_000);
  /** Starts an exchange. @returns the server that gets the request */
  const serverOf = async (number: number, session = ALICE, on = route) => {
    setup.broker.lookUp(on, session);
    return (await setup.request(number)).server.name;
  };
  return { ...setup, serverOf };
}

test('sends the actor token to the first server', async (t) => {
  const actorToken = { source: { file: folderOf(t).write('actor', 'actor-token') }, type: JWT };
  const { broker, request } = setUpBroker();
  broker.lookUp(routeOf({ credential: exchangeOf({ chain: chainOf(), actorToken }) }), ALICE);
  const { grant } = await request(1);
  const actor = grant.kind === 'token_exchange' ? grant.actor : undefined;
  assert.deepEqual([actor?.token, actor?.type], ['actor-token', JWT]);
});

test('fifty concurrent callers share one request to each server', async () => {
  const { broker, issue, requests } = setUpBroker();
  const all = Array.from({ length: 50 }, (_, i) =>
    bearerOf(broker.lookUp(route, i % 2 === 0 ? ALICE : { ...ALICE, id: 'session' })),
  );
  await issue(1, assertion());
  await issue(2, 'token');
  await issue(3, 'token of the session');
  assert.deepEqual(new Set(await Promise.all(all)), new Set(['Bearer token', 'Bearer token of the session']));
  assert.deepEqual(
    requests.map(({ server }) => server.name),
    ['idp', 'main', 'main'],
  );
});

test('reuses an assertion as long as a token, and shares it with no other subject and no other route', async () => {
  const { serverOf } = await setUpChain();
  assert.equal(await serverOf(3), 'main');
  assert.equal(await serverOf(4, BOB), 'idp');
  const other = routeOf({ credential: exchangeOf({ chain: chainOf(), target: targetOf({ scope: 'write' }) }) });
  assert.equal(await serverOf(5, ALICE, other), 'idp');
  const brief = await setUpChain((nowSeconds) => assertion('one', { exp: nowSeconds + 30 }));
  assert.equal(await brief.serverOf(3), 'idp');
});

test('replaces a refused cached assertion once', async () => {
  const { broker, request, issue, fail } = await setUpChain();
  const next = broker.lookUp(route, ALICE);
  await fail(3, REFUSED_ASSERTION);
  await issue(4, assertion('two'));
  const { grant } = await request(5);
  assert.deepEqual(grant, { kind: 'jwt_bearer', assertion: assertion('two'), from: 'chain' });
  await issue(5, 'two');
  assert.equal(await bearerOf(next), 'Bearer two');
});

for (const [code, error] of [
  ['ERR_EXCHANGE_REFUSED', 'invalid_target'],
  ['ERR_CLIENT_REFUSED', 'invalid_client'],
] as const) {
  test(`keeps the assertion after another refusal of the second server: ${error}`, async () => {
    const { broker, request, issue, fail, clock } = setUpBroker();
    const first = broker.lookUp(route, ALICE);
    await issue(1, assertion());
    await fail(2, refusalOf(code, error));
    assert.equal(await bearerOf(first), code);
    clock.advance(10_001);
    broker.lookUp(route, ALICE);
    assert.equal((await request(3)).server.name, 'main');
  });
}

test('uses client credentials at the second server when the subject is missing', async () => {
  const { broker, request } = setUpBroker();
  const credential = exchangeOf({ chain: chainOf(), onMissingSubject: 'client_credentials' });
  broker.lookUp(routeOf({ credential }), { subject: undefined, id: undefined });
  const { grant, server } = await request(1);
  assert.deepEqual([grant, server.name], [{ kind: 'client_credentials' }, 'main']);
});

test('all sessions on a subject token from a file are one', async () => {
  const ours = routeOf({ subjectToken: subjectTokenOf({ own: { file: '/token' } }) });
  const { broker, token, requests } = await setUpToken(ours, { ...ALICE, id: 'one' });
  assert.equal(broker.lookUp(ours, { ...ALICE, id: 'two' }).result, 'hit');
  broker.openSession(ours, ALICE, 'three', token);
  broker.endSession(ours, { ...ALICE, id: 'one' }, 'client');
  assert.equal(broker.lookUp(ours, ALICE).result, 'hit');
  assert.equal(requests.length, 1);
});
