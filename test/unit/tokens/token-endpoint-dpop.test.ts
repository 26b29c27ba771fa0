import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import { createDpopProver } from '../../../src/tokens/issued-token.ts';
import { createTokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import type { Grant } from '../../../src/tokens/token-request.ts';
import { Http1Dispatcher } from '../../../src/transport/http1/dispatcher.ts';
import { startFakeAuthorizationServer, type TokenRequest } from '../../harness/fake-authorization-server.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { endpointContext, failsWith, folderOf, serverOf, tokenRequestOf } from './sample.ts';

const GRANT: Grant = { kind: 'jwt_bearer', from: 'caller', assertion: 'assertion-of-the-caller' };

async function setUp(t: TestContext, fields: Partial<AuthorizationServer> = {}) {
  const fake = await startFakeAuthorizationServer(t);
  const agent = new Http1Dispatcher({});
  t.after(() => agent.destroy());
  const server = serverOf({ issuer: fake.issuer, dpop: true, ...fields });
  const endpoint = createTokenEndpoint(server, () => agent, endpointContext());
  return { fake, exchange: () => endpoint.exchange(tokenRequestOf({ grant: () => GRANT })) };
}

const proofOf = (request: TokenRequest | undefined): string => String(request?.headers.dpop);
const wantsNonce = (nonce: string) =>
  ({ kind: 'response', status: 400, body: { error: 'use_dpop_nonce' }, headers: { 'dpop-nonce': nonce } }) as const;

test('retries with the nonce that the server requires, and keeps it', async (t) => {
  const { fake, exchange } = await setUp(t);
  fake.queue.push(wantsNonce('one'));
  await exchange();
  await exchange();
  const proofs = fake.requests.map((request) => decodeJwt(proofOf(request)));
  assert.deepEqual(
    proofs.map(({ nonce }) => nonce),
    [undefined, 'one', 'one'],
  );
  assert.equal(new Set(proofs.map(({ jti }) => jti)).size, 3);
});

test('keeps a new nonce of any response', async (t) => {
  const { fake, exchange } = await setUp(t);
  fake.queue.push(wantsNonce('one'), {
    kind: 'response',
    status: 200,
    body: { access_token: 'x', token_type: 'DPoP' },
    headers: { 'dpop-nonce': 'two' },
  });
  await exchange();
  await exchange();
  assert.equal(decodeJwt(proofOf(fake.requests[2])).nonce, 'two');
});

test('retries once when the server asks for a nonce again and again', async (t) => {
  const { fake, exchange } = await setUp(t);
  fake.behaviour = wantsNonce('again');
  await assert.rejects(exchange(), failsWith('ERR_CLIENT_REFUSED', /use_dpop_nonce/));
  assert.equal(fake.requests.length, 2);
});

test('treats use_dpop_nonce with a missing or malformed nonce as a refusal', async (t) => {
  const { fake, exchange } = await setUp(t);
  fake.queue.push({ kind: 'response', status: 400, body: { error: 'use_dpop_nonce' } }, wantsNonce('a b'));
  await assert.rejects(exchange(), failsWith('ERR_CLIENT_REFUSED'));
  await assert.rejects(exchange(), failsWith('ERR_CLIENT_REFUSED'));
  assert.equal(fake.requests.length, 2);
});

test('sends a new client assertion with the retry', async (t) => {
  const secret = { file: folderOf(t).write('secret', 'a-secret-of-some-length-for-hs256') };
  const { fake, exchange } = await setUp(t, {
    clientAuth: {
      method: 'client_secret_jwt',
      clientSecret: secret,
      alg: 'HS256',
      assertionAudience: undefined,
      assertionLifetimeMs: 60_000,
    },
  });
  fake.queue.push(wantsNonce('one'));
  await exchange();
  const [first, second] = fake.requests.map(({ form }) => decodeJwt(form.get('client_assertion') ?? '').jti);
  assert.ok(first !== undefined && second !== undefined && first !== second);
});

test('keeps an assertion out of the message when the error repeats it', async (t) => {
  const { fake, exchange } = await setUp(t);
  fake.behaviour = {
    kind: 'response',
    status: 400,
    body: { error: 'invalid_grant', error_description: 'no assertion-of-the-caller' },
  };
  await assert.rejects(exchange(), (error: Error) => !error.message.includes('assertion-of-the-caller'));
});

test('refuses a token that repeats a proof, also the proof before a retry', async (t) => {
  const { fake, exchange } = await setUp(t);
  let firstProof = '';
  fake.behaviour = (request) => {
    const repeated = firstProof;
    firstProof ||= proofOf(request);
    return repeated === '' ? wantsNonce('one') : { kind: 'issue', accessToken: repeated };
  };
  await assert.rejects(exchange(), failsWith('ERR_STS_RESPONSE_INVALID', /contains the "DPoP" of the request/));
});

const REQUEST = { method: 'POST', url: 'https://idp.example.com/token', nonceFrom: 'idp' };

test('uses the newest nonce of a server in proofs for this server only', async () => {
  const prover = createDpopProver(createFakeClock());
  const nonceOf = async (nonceFrom: string) => decodeJwt(await prover.prove({ ...REQUEST, nonceFrom })).nonce;
  assert.equal(prover.learn('idp', 'one'), true);
  assert.equal(prover.learn('idp', 'two'), true);
  assert.equal(prover.learn('idp', 'two'), true);
  assert.equal(await nonceOf('idp'), 'two');
  assert.equal(await nonceOf('upstream'), undefined);
});

test('ignores a malformed nonce', async () => {
  const prover = createDpopProver(createFakeClock());
  for (const nonce of [undefined, '', 'a"b', 'a\\b', 'a b', 'ü', 'x'.repeat(1025)]) {
    assert.equal(prover.learn('idp', nonce), false, nonce);
  }
  assert.equal(decodeJwt(await prover.prove(REQUEST)).nonce, undefined);
});

test('forgets the least recently used nonce', async () => {
  const prover = createDpopProver(createFakeClock());
  for (let i = 0; i < 1001; i += 1) prover.learn(`server ${i}`, 'nonce');
  const nonceOf = async (nonceFrom: string) => decodeJwt(await prover.prove({ ...REQUEST, nonceFrom })).nonce;
  assert.equal(await nonceOf('server 0'), undefined);
  assert.equal(await nonceOf('server 1000'), 'nonce');
});
