import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Session } from '../../../src/tokens/session.ts';
import {
  chainOf,
  exchangeOf,
  failsWith,
  folderOf,
  JWT,
  jwtOf,
  routeOf,
  serverOf,
  subjectOf,
  subjectTokenOf,
  targetOf,
} from './sample.ts';
import { bearerOf, refusalOf, setUpBroker, tokenOf } from './scripted-endpoint.ts';

const SECOND = 'https://idp.example.com';
const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:';
const ID_TOKEN = `${TOKEN_TYPE}id_token`;
const RESOURCE = 'https://github.example.com/mcp';
const assertion = (name = 'one', fields: object = {}) => jwtOf({ aud: SECOND, jti: name, ...fields });

const route = routeOf({
  subjectToken: subjectTokenOf({ type: ID_TOKEN }),
  credential: exchangeOf({ chain: chainOf(), target: targetOf({ scope: 'read' }) }),
});
/** The error for an assertion, which belongs to cambist. */
const REFUSED_ASSERTION = refusalOf('ERR_CLIENT_REFUSED', 'invalid_grant');
const alice: Session = { subject: subjectOf('alice'), id: undefined };
const bob: Session = { subject: subjectOf('bob'), id: undefined };

test('a chain gets an assertion from the first server, and exchanges it at the second', async () => {
  const { broker, request, requests, outcomes } = setUpBroker();
  const pending = broker.lookUp(route, alice);
  const first = await request(1);
  assert.equal(first.server.name, 'idp');
  assert.equal(first.expect, 'assertion');
  assert.deepEqual(first.grant, {
    kind: 'token_exchange',
    subjectToken: alice.subject?.token.reveal(),
    subjectTokenType: ID_TOKEN,
    actor: undefined,
  });
  assert.deepEqual(first.target, {
    resource: [RESOURCE],
    audience: [SECOND],
    scope: 'read',
    requestedTokenType: `${TOKEN_TYPE}id-jag`,
    expectAudience: [SECOND],
  });
  await first.issue(assertion(), 300, 'N_A');
  const second = await request(2);
  assert.equal(second.server.name, 'main');
  assert.equal(second.expect, 'token');
  assert.deepEqual(second.grant, { kind: 'jwt_bearer', assertion: assertion(), from: 'chain' });
  assert.deepEqual(second.target, targetOf({ scope: 'read' }));
  await second.issue('token');
  assert.equal(await bearerOf(pending), 'Bearer token');
  assert.equal(await bearerOf(broker.lookUp(route, alice)), 'Bearer token');
  assert.equal(requests.length, 2);
  assert.deepEqual(
    outcomes.map(({ authorizationServer, error }) => [authorizationServer, error]),
    [
      ['idp', undefined],
      ['main', undefined],
    ],
  );
});

test('identity chaining requests a JWT and sends no resource to the first server', async () => {
  const { broker, request } = setUpBroker();
  broker.lookUp(routeOf({ credential: exchangeOf({ chain: chainOf({ assertion: 'jwt' }) }) }), alice);
  const { target } = await request(1);
  assert.deepEqual(target.resource, []);
  assert.equal(target.requestedTokenType, JWT);
});

test('sends the actor token to the first server', async (t) => {
  const actorToken = { source: { file: folderOf(t).write('actor', 'actor-token') }, type: JWT };
  const { broker, request } = setUpBroker();
  broker.lookUp(routeOf({ credential: exchangeOf({ chain: chainOf(), actorToken }) }), alice);
  const { grant } = await request(1);
  const actor = grant.kind === 'token_exchange' ? grant.actor : undefined;
  assert.deepEqual([actor?.token, actor?.type], ['actor-token', JWT]);
});

test('fifty concurrent callers share one request to each server', async () => {
  const { broker, requests, request } = setUpBroker();
  const all = Array.from({ length: 50 }, (_, i) =>
    bearerOf(broker.lookUp(route, i % 2 === 0 ? alice : { ...alice, id: 'session' })),
  );
  await (await request(1)).issue(assertion());
  await (await request(2)).issue('token');
  await (await request(3)).issue('token of the session');
  assert.deepEqual(new Set(await Promise.all(all)), new Set(['Bearer token', 'Bearer token of the session']));
  assert.deepEqual(
    requests.map(({ server }) => server.name),
    ['idp', 'main', 'main'],
  );
});

test('reuses a valid assertion for the next token', async () => {
  const { broker, request, requests, clock } = setUpBroker();
  const first = broker.lookUp(route, alice);
  await (await request(1)).issue(assertion(), 300);
  await (await request(2)).issue('one', 10);
  await tokenOf(first);
  clock.advance(60_000);
  const next = broker.lookUp(route, alice);
  await (await request(3)).issue('two');
  assert.equal(await bearerOf(next), 'Bearer two');
  assert.equal(requests[2]?.server.name, 'main');
});

test('limits the lifetime of an assertion like that of a token', async () => {
  const { broker, request, clock } = setUpBroker();
  const first = broker.lookUp(route, alice);
  await (await request(1)).issue(assertion('one', { exp: clock.wallMs() / 1000 + 30 }), 300);
  await (await request(2)).issue('one', 10);
  await tokenOf(first);
  clock.advance(30_000);
  broker.lookUp(route, alice);
  assert.equal((await request(3)).server.name, 'idp');
});

test('shares an assertion with no other subject and no other route', async () => {
  const { broker, request } = setUpBroker();
  const first = broker.lookUp(route, alice);
  await (await request(1)).issue(assertion());
  await (await request(2)).issue('for alice');
  await tokenOf(first);
  broker.lookUp(route, bob);
  assert.equal((await request(3)).server.name, 'idp');
  const other = routeOf({
    ...route,
    credential: exchangeOf({ chain: chainOf(), target: targetOf({ scope: 'write' }) }),
  });
  broker.lookUp(other, alice);
  assert.equal((await request(4)).server.name, 'idp');
});

test('replaces a refused cached assertion once', async () => {
  const { broker, request, requests, clock } = setUpBroker();
  const first = broker.lookUp(route, alice);
  await (await request(1)).issue(assertion('one'));
  await (await request(2)).issue('one', 10);
  await tokenOf(first);
  clock.advance(60_000);
  const next = broker.lookUp(route, alice);
  await (await request(3)).fail(REFUSED_ASSERTION);
  await (await request(4)).issue(assertion('two'));
  const { grant } = await request(5);
  assert.deepEqual(grant, { kind: 'jwt_bearer', assertion: assertion('two'), from: 'chain' });
  await requests[4]?.issue('two');
  assert.equal(await bearerOf(next), 'Bearer two');
});

test('caches neither a refused new assertion nor the refusal', async () => {
  const { broker, request } = setUpBroker();
  const first = broker.lookUp(route, alice);
  await (await request(1)).issue(assertion());
  await (await request(2)).fail(REFUSED_ASSERTION);
  assert.equal(await bearerOf(first), 'ERR_CLIENT_REFUSED');
  assert.equal(broker.lookUp(route, alice).result, 'miss');
  assert.equal((await request(3)).server.name, 'idp');
});

for (const [code, error] of [
  ['ERR_EXCHANGE_REFUSED', 'invalid_target'],
  ['ERR_CLIENT_REFUSED', 'invalid_client'],
] as const) {
  test(`keeps the assertion after another refusal of the second server: ${error}`, async () => {
    const { broker, request, clock } = setUpBroker();
    const first = broker.lookUp(route, alice);
    await (await request(1)).issue(assertion());
    await (await request(2)).fail(refusalOf(code, error));
    assert.equal(await bearerOf(first), code);
    clock.advance(10_001);
    broker.lookUp(route, alice);
    assert.equal((await request(3)).server.name, 'main');
  });
}

test('caches a refusal of the first server, and sends nothing to the second', async () => {
  const { broker, request, requests, outcomes } = setUpBroker();
  const pending = broker.lookUp(route, alice);
  await (await request(1)).fail(refusalOf('ERR_SUBJECT_TOKEN_INVALID'));
  assert.equal(await bearerOf(pending), 'ERR_SUBJECT_TOKEN_INVALID');
  assert.equal(broker.lookUp(route, alice).result, 'negative');
  assert.equal(requests.length, 1);
  assert.equal(outcomes[0]?.authorizationServer, 'idp');
});

test('sends an assertion for another server to no server', async () => {
  const { broker, request, requests } = setUpBroker();
  const pending = broker.lookUp(route, alice);
  await (await request(1)).issue(jwtOf({ aud: 'https://elsewhere.example.com' }));
  await assert.rejects(
    tokenOf(pending),
    failsWith('ERR_ISSUED_TOKEN_AUDIENCE', /the assertion of its chain is for another server.*idp\.example\.com/),
  );
  assert.equal(requests.length, 1);
});

test('keeps the faults of both servers apart', async () => {
  const { broker, request, requests } = setUpBroker();
  const pending = broker.lookUp(route, alice);
  await (await request(1)).fail(refusalOf('ERR_STS_UNAVAILABLE'));
  assert.equal(await bearerOf(pending), 'ERR_STS_UNAVAILABLE');
  broker.lookUp(route, alice);
  assert.equal((await request(2)).server.name, 'idp');
  assert.equal(requests.length, 2);
});

test('uses client credentials at the second server when the subject is missing', async () => {
  const { broker, request } = setUpBroker();
  const credential = exchangeOf({ chain: chainOf(), onMissingSubject: 'client_credentials' });
  broker.lookUp(routeOf({ credential }), { subject: undefined, id: undefined });
  const { grant, server } = await request(1);
  assert.deepEqual([grant, server.name], [{ kind: 'client_credentials' }, 'main']);
});

test('sends the subject token as the assertion with the grant jwt_bearer', async () => {
  const { broker, request } = setUpBroker();
  const pending = broker.lookUp(
    routeOf({ credential: exchangeOf({ authorizationServer: serverOf({ grant: 'jwt_bearer' }) }) }),
    alice,
  );
  const { grant } = await request(1);
  assert.deepEqual(grant, { kind: 'jwt_bearer', assertion: alice.subject?.token.reveal(), from: 'caller' });
  await (await request(1)).issue('on behalf of alice');
  assert.equal(await bearerOf(pending), 'Bearer on behalf of alice');
});

test('sends a DPoP token upstream with proofs', async () => {
  const { broker, request } = setUpBroker();
  const pending = broker.lookUp(route, alice);
  await (await request(1)).issue(assertion());
  await (await request(2)).issue('bound', 300, 'DPoP');
  const token = await tokenOf(pending);
  assert.equal(token.authorization.reveal(), 'DPoP bound');
  assert.ok(token.dpop !== undefined);
  assert.equal(token.dpop.learn('https://u', 'nonce'), true);
  const proof = await token.dpop.prove('GET', 'https://u', '/mcp?x=1');
  const claims = JSON.parse(Buffer.from(proof.split('.')[1] ?? '', 'base64url').toString());
  assert.equal(claims.htu, 'https://u/mcp');
  assert.equal(claims.nonce, 'nonce');
  assert.equal(typeof claims.ath, 'string');
});

test('all sessions on a subject token from a file are one', async () => {
  const { broker, request, requests } = setUpBroker();
  const ours = routeOf({ subjectToken: subjectTokenOf({ file: { file: '/token' } }) });
  const first = broker.lookUp(ours, { ...alice, id: 'one' });
  await (await request(1)).issue('token');
  const token = await tokenOf(first);
  assert.equal(broker.lookUp(ours, { ...alice, id: 'two' }).result, 'hit');
  broker.openSession(ours, alice, 'three', token);
  broker.endSession(ours, { ...alice, id: 'one' }, 'client');
  assert.equal(broker.lookUp(ours, alice).result, 'hit');
  assert.equal(requests.length, 1);
});
