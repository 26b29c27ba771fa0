import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import { CambistError } from '../../../src/errors.ts';
import { createDpopProver } from '../../../src/tokens/issued-token.ts';
import { createTokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import type { Grant } from '../../../src/tokens/token-request.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer, type TokenRequest } from '../../harness/fake-authorization-server.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import {
  dispatcherOf,
  EXCHANGE,
  endpointContext,
  failsWith,
  folderOf,
  secretJwt,
  serverOf,
  targetOf,
  tokenRequestOf,
} from './sample.ts';

const HOUR_MS = 3_600_000;

async function setUp(t: TestContext, fields: Partial<AuthorizationServer> = {}) {
  const fake = await startFakeAuthorizationServer(t);
  const agent = dispatcherOf(t);
  const clock = createFakeClock();
  const server = serverOf({ issuer: fake.issuer, ...fields });
  const endpoint = createTokenEndpoint(server, () => agent, endpointContext(clock));
  const exchange = (grant: Grant = EXCHANGE, target = targetOf(), caller = 'alice', peer = '10.0.0.1') =>
    endpoint.exchange(tokenRequestOf({ requester: { caller, peer }, grant: () => grant, target }));
  return { fake, clock, endpoint, exchange, server };
}

test('uses a configured token endpoint without discovery', async (t) => {
  const other = await startFakeAuthorizationServer(t);
  const { fake, exchange } = await setUp(t, { tokenEndpoint: other.tokenEndpoint, issuer: undefined });
  await exchange();
  assert.equal(other.requests.length, 1);
  assert.equal(other.metadataRequests.length + fake.metadataRequests.length + fake.requests.length, 0);
});

const LATE =
  /"main": the token endpoint sent no complete response within 1s: .*raise authorization_servers\.main\.timeout$/;

for (const [behaviour, says] of [
  [{ kind: 'hang' }, LATE],
  [{ kind: 'reset' }, /"main": the token endpoint is unreachable/],
] as const) {
  test(`fails at the timeout when the token endpoint does ${behaviour.kind}`, async (t) => {
    const { fake, exchange } = await setUp(t, { timeoutMs: 1000 });
    fake.behaviour = behaviour;
    await assert.rejects(exchange(), failsWith('ERR_STS_UNAVAILABLE', says));
  });
}

test('refuses a response that is too large', async (t) => {
  const { fake, exchange } = await setUp(t);
  fake.behaviour = { kind: 'huge', bytes: 1_000_000 };
  await assert.rejects(exchange(), failsWith('ERR_STS_RESPONSE_INVALID', /"main".*larger than/));
});

test('repeats a failed discovery', async (t) => {
  const { fake, exchange } = await setUp(t);
  fake.metadataBehaviour = { kind: 'response', status: 500 };
  await assert.rejects(exchange(), failsWith('ERR_STS_UNAVAILABLE', /returned status 500/));
  fake.metadataBehaviour = { kind: 'document' };
  await exchange();
  assert.equal(fake.requests.length, 1);
});

test('reads the metadata again after an hour, in the background, and follows a token endpoint that moved', async (t) => {
  const other = await startFakeAuthorizationServer(t);
  const { fake, exchange, clock } = await setUp(t);
  await exchange();
  clock.advance(HOUR_MS - 1);
  await exchange();
  assert.equal(fake.metadataRequests.length, 1);
  clock.advance(1);
  fake.metadataBehaviour = { kind: 'document', fields: { token_endpoint: other.tokenEndpoint } };
  while (other.requests.length === 0) await exchange();
  assert.equal(fake.metadataRequests.length, 2);
});

for (const behaviour of [{ kind: 'response', status: 503 }, { kind: 'hang' }, { kind: 'reset' }] as const) {
  test(`keeps the known endpoint when reading the metadata again fails (${behaviour.kind})`, async (t) => {
    const { fake, exchange, clock } = await setUp(t, { timeoutMs: 3000 });
    await exchange();
    clock.advance(HOUR_MS);
    fake.metadataBehaviour = behaviour;
    for (let i = 0; i < 5; i += 1) await exchange();
    assert.equal(fake.requests.length, 6);
    // The time is for both URLs.
    const asked = behaviour.kind === 'hang' ? 2 : 3;
    await eventually('it has failed', () => fake.inFlight() === 0 && fake.metadataRequests.length === asked);
    await exchange();
    assert.equal(fake.metadataRequests.length, asked);
    clock.advance(60_000);
    await exchange();
    while (fake.metadataRequests.length === asked) await new Promise(setImmediate);
  });
}

test('sends no request when the client credential is unreadable', async (t) => {
  const file = `${folderOf(t).path}/absent`;
  const { fake, exchange, endpoint } = await setUp(t, {
    clientAuth: { method: 'client_secret_post', clientSecret: { file } },
  });
  for (let i = 0; i < 5; i += 1) await assert.rejects(exchange(), failsWith('ERR_CREDENTIAL_UNAVAILABLE'));
  await assert.rejects(endpoint.prepare(), failsWith('ERR_CREDENTIAL_UNAVAILABLE'));
  assert.equal(fake.requests.length, 0);
});

test('throws the error of a connection pool that cannot be created', async () => {
  const error = new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'no CA');
  const endpoint = createTokenEndpoint(serverOf(), () => Promise.reject(error), endpointContext());
  await assert.rejects(endpoint.prepare(), (caught) => caught === error);
  const direct = createTokenEndpoint(
    serverOf({ tokenEndpoint: 'http://127.0.0.1:9/token' }),
    () => Promise.reject(error),
    endpointContext(),
  );
  await assert.rejects(direct.exchange(tokenRequestOf()), (caught) => caught === error);
});

test('prepares discovery before the first exchange, once for all', async (t) => {
  const { fake, exchange, endpoint } = await setUp(t);
  await Promise.all([endpoint.prepare(), endpoint.prepare()]);
  assert.deepEqual([fake.metadataRequests.length, fake.requests.length], [1, 0]);
  await Promise.all([exchange(), exchange()]);
  assert.equal(fake.metadataRequests.length, 1);
});

test('refuses the unknown callers of a peer whose requests make the server fail, and no others', async (t) => {
  const { fake, exchange } = await setUp(t);
  fake.behaviour = ({ form }) =>
    form.get('subject_token') === 'junk' ? { kind: 'response', status: 500 } : { kind: 'issue', fields: {} };
  const junk = () => exchange({ ...EXCHANGE, subjectToken: 'junk' }, targetOf(), 'mallory', '10.0.0.2');
  for (let i = 0; i < 3; i += 1) await assert.rejects(junk(), failsWith('ERR_STS_UNAVAILABLE', /returned status 500/));
  await assert.rejects(junk(), failsWith('ERR_STS_UNAVAILABLE', /considered down/));
  assert.equal((await exchange()).tokenType, 'Bearer');
});

test('includes discovery in the timeout of an exchange', async (t) => {
  const { fake, exchange } = await setUp(t, { timeoutMs: 200 });
  fake.metadataBehaviour = { kind: 'hang' };
  await assert.rejects(exchange(), failsWith('ERR_STS_UNAVAILABLE', /did not arrive within 200ms: /));
});

test('counts the lifetime of a token from when its request was sent', async (t) => {
  const { fake, exchange, clock } = await setUp(t);
  const gate = deferred<void>();
  fake.behaviour = { kind: 'issue', until: gate.promise };
  const sentMs = clock.monotonicMs();
  const pending = exchange();
  while (fake.requests.length === 0) await new Promise(setImmediate);
  clock.advance(4000);
  gate.resolve();
  assert.equal((await pending).lifetime.sentAtMs, sentMs);
});

const ASSERTION: Grant = { kind: 'jwt_bearer', from: 'caller', assertion: 'assertion-of-the-caller' };

async function setUpDpop(t: TestContext, fields: Partial<AuthorizationServer> = {}) {
  const { fake, exchange } = await setUp(t, { dpop: true, ...fields });
  return { fake, exchange: () => exchange(ASSERTION) };
}

const proofOf = (request: TokenRequest | undefined): string => String(request?.headers.dpop);
const wantsNonce = (nonce: string) =>
  ({ kind: 'response', status: 400, body: { error: 'use_dpop_nonce' }, headers: { 'dpop-nonce': nonce } }) as const;

test('retries with the nonce that the server requires, and keeps it until any response has a new one', async (t) => {
  const { fake, exchange } = await setUpDpop(t);
  const body = { access_token: 'x', token_type: 'DPoP' };
  const withNonce = { kind: 'response', status: 200, body, headers: { 'dpop-nonce': 'two' } } as const;
  fake.queue.push(wantsNonce('one'), { kind: 'issue' }, withNonce);
  for (let i = 0; i < 3; i += 1) await exchange();
  const proofs = fake.requests.map((request) => decodeJwt(proofOf(request)));
  assert.deepEqual(
    proofs.map(({ nonce }) => nonce),
    [undefined, 'one', 'one', 'two'],
  );
  assert.equal(new Set(proofs.map(({ jti }) => jti)).size, 4);
});

test('retries once when the server asks for a nonce again and again', async (t) => {
  const { fake, exchange } = await setUpDpop(t);
  fake.behaviour = wantsNonce('again');
  await assert.rejects(exchange(), failsWith('ERR_CLIENT_REFUSED', /use_dpop_nonce/));
  assert.equal(fake.requests.length, 2);
});

test('treats use_dpop_nonce with a missing or malformed nonce as a refusal', async (t) => {
  const { fake, exchange } = await setUpDpop(t);
  fake.queue.push({ kind: 'response', status: 400, body: { error: 'use_dpop_nonce' } }, wantsNonce('a b'));
  await assert.rejects(exchange(), failsWith('ERR_CLIENT_REFUSED'));
  await assert.rejects(exchange(), failsWith('ERR_CLIENT_REFUSED'));
  assert.equal(fake.requests.length, 2);
});

test('sends a new client assertion with the retry', async (t) => {
  const file = folderOf(t).write('secret', 'a-secret-of-some-length-for-hs256');
  const { fake, exchange } = await setUpDpop(t, { clientAuth: secretJwt(file) });
  fake.queue.push(wantsNonce('one'));
  await exchange();
  const [first, second] = fake.requests.map(({ form }) => decodeJwt(form.get('client_assertion') ?? '').jti);
  assert.ok(first !== undefined && second !== undefined && first !== second);
});

test('keeps an assertion out of the message when the error repeats it', async (t) => {
  const { fake, exchange } = await setUpDpop(t);
  fake.behaviour = {
    kind: 'response',
    status: 400,
    body: { error: 'invalid_grant', error_description: 'no assertion-of-the-caller' },
  };
  await assert.rejects(exchange(), (error: Error) => !error.message.includes('assertion-of-the-caller'));
});

test('refuses a token that repeats a proof, also the proof before a retry', async (t) => {
  const { fake, exchange } = await setUpDpop(t);
  let firstProof = '';
  fake.behaviour = (request) => {
    const repeated = firstProof;
    firstProof ||= proofOf(request);
    return repeated === '' ? wantsNonce('one') : { kind: 'issue', accessToken: repeated };
  };
  await assert.rejects(exchange(), failsWith('ERR_STS_RESPONSE_INVALID', /contains the "DPoP" of the request/));
});

/** A prover, and the nonce in its proof for a server. */
function setUpProver() {
  const prover = createDpopProver(createFakeClock());
  const request = { method: 'POST', url: 'https://idp.example.com/token' };
  const nonceOf = async (nonceFrom: string) => decodeJwt(await prover.prove({ ...request, nonceFrom })).nonce;
  return { prover, nonceOf };
}

test('uses the newest nonce of a server in proofs for this server only', async () => {
  const { prover, nonceOf } = setUpProver();
  for (const nonce of ['one', 'two', 'two']) assert.equal(prover.learn('idp', nonce), true);
  assert.equal(await nonceOf('idp'), 'two');
  assert.equal(await nonceOf('upstream'), undefined);
});

test('ignores a malformed nonce', async () => {
  const { prover, nonceOf } = setUpProver();
  for (const nonce of [undefined, '', 'a"b', 'a\\b', 'a b', 'ü', 'x'.repeat(1025)]) {
    assert.equal(prover.learn('idp', nonce), false, nonce);
  }
  assert.equal(await nonceOf('idp'), undefined);
});

test('forgets the least recently used nonce', async () => {
  const { prover, nonceOf } = setUpProver();
  for (let i = 0; i < 1001; i += 1) prover.learn(`server ${i}`, 'nonce');
  assert.equal(await nonceOf('server 0'), undefined);
  assert.equal(await nonceOf('server 1000'), 'nonce');
});
