import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { decodeJwt, EmbeddedJWK, jwtVerify } from 'jose';
import { Agent } from 'undici';
import type { AuthorizationServer } from '../../../src/config/config.ts';
import { createDpopProver } from '../../../src/tokens/dpop.ts';
import { createEndpointClaims } from '../../../src/tokens/endpoint-claims.ts';
import { createTokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import type { Grant } from '../../../src/tokens/token-request.ts';
import { startFakeAuthorizationServer, type TokenRequest } from '../../harness/fake-authorization-server.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, folderOf, serverOf, targetOf } from './sample.ts';

const GRANT: Grant = { kind: 'jwt_bearer', from: 'caller', assertion: 'assertion-of-the-caller' };

async function setUp(t: TestContext, fields: Partial<AuthorizationServer> = {}) {
  const fake = await startFakeAuthorizationServer();
  const agent = new Agent();
  t.after(async () => {
    await agent.destroy();
    await fake.close();
  });
  const clock = createFakeClock();
  const server = serverOf({ issuer: fake.issuer, dpop: true, ...fields });
  const context = {
    clock,
    dpop: createDpopProver(clock),
    credentialRead: () => {},
    availabilityChanged: () => {},
    claims: createEndpointClaims(() => []),
  };
  const endpoint = createTokenEndpoint(server, () => agent, context);
  return {
    fake,
    ask: () => endpoint.run({ caller: 'alice', peer: '10.0.0.1' }, () => endpoint.requestToken(GRANT, targetOf())),
  };
}

const proofOf = (request: TokenRequest | undefined): string => String(request?.headers.dpop);
const wantsNonce = (nonce: string) =>
  ({ kind: 'answer', status: 400, body: { error: 'use_dpop_nonce' }, headers: { 'dpop-nonce': nonce } }) as const;

test('a token request bears a proof for it, and the token may come back bound', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.mood = { kind: 'issue', fields: { token_type: 'DPoP' } };
  assert.equal((await ask()).tokenType, 'DPoP');
  const { payload } = await jwtVerify(proofOf(fake.requests[0]), EmbeddedJWK, { typ: 'dpop+jwt' });
  assert.equal(payload.htm, 'POST');
  assert.equal(payload.htu, fake.tokenEndpoint);
  assert.equal('ath' in payload, false);
});

test('a bearer is as good, where the server has no bound ones', async (t) => {
  const { ask } = await setUp(t);
  assert.equal((await ask()).tokenType, 'Bearer');
});

test('without dpop no proof is sent, and no bound token taken', async (t) => {
  const { fake, ask } = await setUp(t, { dpop: false });
  fake.mood = { kind: 'issue', fields: { token_type: 'DPoP' } };
  await assert.rejects(ask(), failsWith('ERR_STS_RESPONSE_INVALID', /"token_type" is not "Bearer"/));
  assert.equal(fake.requests[0]?.headers.dpop, undefined);
});

test('a nonce that the server wants is in the second request, and in those after it', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.queue.push(wantsNonce('one'));
  await ask();
  await ask();
  const proofs = fake.requests.map((request) => decodeJwt(proofOf(request)));
  assert.deepEqual(
    proofs.map(({ nonce }) => nonce),
    [undefined, 'one', 'one'],
  );
  assert.equal(new Set(proofs.map(({ jti }) => jti)).size, 3);
});

test('a new nonce may come with any answer', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.queue.push(wantsNonce('one'), {
    kind: 'answer',
    status: 200,
    body: { access_token: 'x', token_type: 'DPoP' },
    headers: { 'dpop-nonce': 'two' },
  });
  await ask();
  await ask();
  assert.equal(decodeJwt(proofOf(fake.requests[2])).nonce, 'two');
});

test('a server that is never content is asked twice', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.mood = wantsNonce('again');
  await assert.rejects(ask(), failsWith('ERR_CLIENT_REFUSED', /use_dpop_nonce/));
  assert.equal(fake.requests.length, 2);
});

test('a wish for a nonce without one, or with a bad one, is a refusal', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.queue.push({ kind: 'answer', status: 400, body: { error: 'use_dpop_nonce' } }, wantsNonce('a b'));
  await assert.rejects(ask(), failsWith('ERR_CLIENT_REFUSED'));
  await assert.rejects(ask(), failsWith('ERR_CLIENT_REFUSED'));
  assert.equal(fake.requests.length, 2);
});

test('the second request has a client assertion of its own, since each is good once', async (t) => {
  const secret = { file: folderOf(t).write('secret', 'a-secret-of-some-length-for-hs256') };
  const { fake, ask } = await setUp(t, {
    clientAuth: {
      method: 'client_secret_jwt',
      clientSecret: secret,
      alg: 'HS256',
      assertionAudience: undefined,
      assertionLifetimeMs: 60_000,
    },
  });
  fake.queue.push(wantsNonce('one'));
  await ask();
  const [first, second] = fake.requests.map(({ form }) => decodeJwt(form.get('client_assertion') ?? '').jti);
  assert.ok(first !== undefined && second !== undefined && first !== second);
});

test('an assertion that is repeated in an error is not in the message', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.mood = {
    kind: 'answer',
    status: 400,
    body: { error: 'invalid_grant', error_description: 'no assertion-of-the-caller' },
  };
  await assert.rejects(ask(), (error: Error) => !error.message.includes('assertion-of-the-caller'));
});
