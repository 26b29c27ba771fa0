import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Agent } from 'undici';
import type { AuthorizationServer } from '../../../src/config/config.ts';
import { CambistError } from '../../../src/errors.ts';
import { createDpopProver } from '../../../src/tokens/dpop.ts';
import { createEndpointClaims } from '../../../src/tokens/endpoint-claims.ts';
import { createTokenEndpoint, type TokenEndpointContext } from '../../../src/tokens/token-endpoint.ts';
import type { Grant } from '../../../src/tokens/token-request.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { ACCESS_TOKEN, deferred, failsWith, folderOf, serverOf, targetOf } from './sample.ts';

const EXCHANGE: Grant = {
  kind: 'token_exchange',
  subjectToken: 'subject',
  subjectTokenType: ACCESS_TOKEN,
  actor: undefined,
};
const HOUR_MS = 3_600_000;

/** What the endpoints of a process share. */
function contextOf(clock = createFakeClock()): TokenEndpointContext {
  return {
    clock,
    dpop: createDpopProver(clock),
    credentialRead: () => {},
    availabilityChanged: () => {},
    claims: createEndpointClaims(() => []),
  };
}

async function setUp(t: TestContext, fields: Partial<AuthorizationServer> = {}) {
  const fake = await startFakeAuthorizationServer();
  const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  t.after(async () => {
    await agent.destroy();
    await fake.close();
  });
  const clock = createFakeClock();
  const server = serverOf({ issuer: fake.issuer, ...fields });
  const endpoint = createTokenEndpoint(server, () => agent, contextOf(clock));
  const ask = (grant = EXCHANGE, target = targetOf(), caller = 'alice', peer = '10.0.0.1') =>
    endpoint.run({ caller, peer }, () => endpoint.requestToken(grant, target));
  return { fake, clock, endpoint, ask, server };
}

test('a token is asked for where the metadata say, with the form and the client authentication', async (t) => {
  const file = folderOf(t).write('secret', 's3cret');
  const { fake, ask, clock } = await setUp(t, {
    clientAuth: { method: 'client_secret_basic', clientSecret: { file }, basicEncoding: 'form' },
  });
  const { sent, ...answer } = await ask();
  const [request] = fake.requests;
  assert.ok(['subject', 's3cret'].every((value) => sent.some((one) => one.value === value)));
  assert.deepEqual(answer, {
    accessToken: request?.issued,
    tokenType: 'Bearer',
    expiresInSeconds: 300,
    sentAtMs: clock.monotonicMs(),
  });
  assert.equal(request?.headers.authorization, `Basic ${Buffer.from('cambist:s3cret').toString('base64')}`);
  assert.equal(request?.headers['content-type'], 'application/x-www-form-urlencoded');
  assert.equal(request?.headers.accept, 'application/json');
  assert.deepEqual(Object.fromEntries(request?.form ?? []), {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: 'subject',
    subject_token_type: ACCESS_TOKEN,
    resource: 'https://github.example.com/mcp',
  });
});

test('no Authorization header is sent where client authentication has none', async (t) => {
  const { fake, ask } = await setUp(t);
  await ask();
  assert.equal(fake.requests[0]?.headers.authorization, undefined);
  assert.equal(fake.requests[0]?.form.get('client_id'), 'cambist');
});

test('what is asked for is form-encoded, so that no value can add a parameter', async (t) => {
  const { fake, ask } = await setUp(t);
  await ask(EXCHANGE, targetOf({ scope: 'a&resource=https://evil+b', resource: ['https://h/?x=1&y=ü'] }));
  assert.equal(fake.requests[0]?.form.get('scope'), 'a&resource=https://evil+b');
  assert.deepEqual(fake.requests[0]?.form.getAll('resource'), ['https://h/?x=1&y=ü']);
});

test('a token endpoint of the config is asked without any metadata', async (t) => {
  const other = await startFakeAuthorizationServer();
  t.after(() => other.close());
  const { fake, ask } = await setUp(t, { tokenEndpoint: other.tokenEndpoint, issuer: undefined });
  await ask();
  assert.equal(other.requests.length, 1);
  assert.equal(other.metadataRequests.length + fake.metadataRequests.length + fake.requests.length, 0);
});

test('a redirect of the token endpoint is not followed, and no token', async (t) => {
  const { fake, ask } = await setUp(t);
  const elsewhere = `${fake.issuer}/elsewhere`;
  for (const status of [302, 307, 308]) {
    fake.mood = { kind: 'answer', status, headers: { location: elsewhere } };
    await assert.rejects(ask(), failsWith('ERR_STS_RESPONSE_INVALID', new RegExp(`${status}`)));
  }
  assert.equal(fake.requests.length, 3);
});

test('a refusal is told from a fault', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.queue.push({ kind: 'answer', status: 400, body: { error: 'invalid_target' } });
  await assert.rejects(ask(), failsWith('ERR_EXCHANGE_REFUSED'));
  fake.queue.push({ kind: 'answer', status: 503, headers: { 'retry-after': '7' } });
  await assert.rejects(ask(), (error) => (error as CambistError).retryAfterSeconds === 7);
  await assert.rejects(ask(), failsWith('ERR_STS_UNAVAILABLE', /considered down/));
  assert.equal(fake.requests.length, 2);
});

for (const mood of [{ kind: 'hang' }, { kind: 'drip', intervalMs: 5 }, { kind: 'reset' }] as const) {
  test(`a token endpoint that does ${mood.kind} is unavailable, in bounded time`, async (t) => {
    const { fake, ask } = await setUp(t, { timeoutMs: 150 });
    fake.mood = mood;
    const startedMs = performance.now();
    await assert.rejects(ask(), failsWith('ERR_STS_UNAVAILABLE', /"main": the token endpoint cannot be reached/));
    assert.ok(performance.now() - startedMs < 3000);
  });
}

test('an answer too large to be one of a token endpoint is unusable', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.mood = { kind: 'huge', bytes: 1_000_000 };
  await assert.rejects(ask(), failsWith('ERR_STS_RESPONSE_INVALID', /"main".*larger than/));
});

test('nobody listening is unavailable, and after three times not even tried', async (t) => {
  const { fake, ask } = await setUp(t, { tokenEndpoint: 'http://127.0.0.1:9/token' });
  for (let i = 0; i < 3; i += 1) {
    await assert.rejects(ask(), failsWith('ERR_STS_UNAVAILABLE', /cannot be reached/));
  }
  await assert.rejects(ask(), failsWith('ERR_STS_UNAVAILABLE', /considered down/));
  assert.equal(fake.requests.length, 0);
});

test('metadata are read once, however many ask at the same time', async (t) => {
  const { fake, ask } = await setUp(t);
  await Promise.all([ask(), ask(), ask()]);
  await ask();
  assert.equal(fake.metadataRequests.length, 1);
});

test('metadata that could not be had are asked for again', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.metadataMood = { kind: 'answer', status: 500 };
  await assert.rejects(ask(), failsWith('ERR_STS_UNAVAILABLE', /returned status 500/));
  fake.metadataMood = { kind: 'document' };
  await ask();
  assert.equal(fake.requests.length, 1);
});

test('after an hour metadata are read anew, in the background', async (t) => {
  const { fake, ask, clock } = await setUp(t);
  await ask();
  clock.advance(HOUR_MS - 1);
  await ask();
  assert.equal(fake.metadataRequests.length, 1);
  clock.advance(1);
  const moved = `${fake.tokenEndpoint}?moved`;
  fake.metadataMood = { kind: 'document', fields: { token_endpoint: moved } };
  await Promise.all([ask(), ask()]);
  while (fake.metadataRequests.length < 2 || fake.inFlight() > 0) await new Promise(setImmediate);
  assert.equal(fake.metadataRequests.length, 2);
});

test('the token endpoint may move', async (t) => {
  const other = await startFakeAuthorizationServer();
  t.after(() => other.close());
  const { fake, ask, clock } = await setUp(t);
  await ask();
  clock.advance(HOUR_MS);
  fake.metadataMood = { kind: 'document', fields: { token_endpoint: other.tokenEndpoint } };
  while (other.requests.length === 0) await ask();
  assert.equal(fake.metadataRequests.length, 2);
});

for (const mood of [{ kind: 'answer', status: 503 }, { kind: 'hang' }, { kind: 'reset' }] as const) {
  test(`metadata that cannot be had anew (${mood.kind}) delay nobody, and the old serve on`, async (t) => {
    const { fake, ask, clock } = await setUp(t, { timeoutMs: 300 });
    await ask();
    clock.advance(HOUR_MS);
    fake.metadataMood = mood;
    for (let i = 0; i < 5; i += 1) await ask();
    assert.equal(fake.requests.length, 6);
    while (fake.inFlight() > 0) await new Promise((resolve) => setTimeout(resolve, 20));
    const asked = fake.metadataRequests.length;
    assert.ok(asked > 1 && asked <= 3);
    await ask();
    assert.equal(fake.metadataRequests.length, asked);
    clock.advance(60_000);
    await ask();
    while (fake.metadataRequests.length === asked) await new Promise(setImmediate);
  });
}

test('an unreadable credential is our own trouble, and no request is made', async (t) => {
  const file = `${folderOf(t).path}/absent`;
  const { fake, ask, endpoint } = await setUp(t, {
    clientAuth: { method: 'client_secret_post', clientSecret: { file } },
  });
  for (let i = 0; i < 5; i += 1) await assert.rejects(ask(), failsWith('ERR_CREDENTIAL_UNAVAILABLE'));
  await assert.rejects(endpoint.prepare(), failsWith('ERR_CREDENTIAL_UNAVAILABLE'));
  assert.equal(fake.requests.length, 0);
});

test('a pool that cannot be made is our own trouble', async () => {
  const error = new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'no CA');
  const endpoint = createTokenEndpoint(serverOf(), () => Promise.reject(error), contextOf());
  await assert.rejects(endpoint.prepare(), (caught) => caught === error);
  const direct = createTokenEndpoint(
    serverOf({ tokenEndpoint: 'http://127.0.0.1:9/token' }),
    () => Promise.reject(error),
    contextOf(),
  );
  await assert.rejects(direct.requestToken(EXCHANGE, targetOf()), (caught) => caught === error);
});

test('what is needed can be found out before anybody asks', async (t) => {
  const { fake, ask, endpoint } = await setUp(t);
  await endpoint.prepare();
  assert.equal(fake.metadataRequests.length, 1);
  assert.equal(fake.requests.length, 0);
  await ask();
  assert.equal(fake.metadataRequests.length, 1);
});

test('one peer has 48 requests in flight, and the waiting ones are refused at once when they fail', async (t) => {
  const { fake, ask } = await setUp(t);
  const gate = deferred<void>();
  fake.mood = { kind: 'answer', status: 503, until: gate.promise };
  const all = Array.from({ length: 300 }, (_, i) =>
    ask(EXCHANGE, targetOf(), `caller-${i}`).then(
      () => 'token',
      (error: CambistError) => error.code,
    ),
  );
  while (fake.requests.length < 48) await new Promise(setImmediate);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(fake.requests.length, 48);
  gate.resolve();
  assert.deepEqual(new Set(await Promise.all(all)), new Set(['ERR_STS_UNAVAILABLE']));
  assert.ok(fake.requests.length <= 50, `${fake.requests.length} requests`);
});

test('refuses the unknown callers of a peer whose requests make the server fail, and no others', async (t) => {
  const { fake, ask } = await setUp(t);
  fake.mood = ({ form }) =>
    form.get('subject_token') === 'junk' ? { kind: 'answer', status: 500 } : { kind: 'issue', fields: {} };
  const junk = () => ask({ ...EXCHANGE, subjectToken: 'junk' }, targetOf(), 'mallory', '10.0.0.2');
  for (let i = 0; i < 3; i += 1) await assert.rejects(junk(), failsWith('ERR_STS_UNAVAILABLE', /answered with 500/));
  await assert.rejects(junk(), failsWith('ERR_STS_UNAVAILABLE', /considered down/));
  assert.equal((await ask()).tokenType, 'Bearer');
});

test('the time for a request runs from before the metadata are looked for', async (t) => {
  const { fake, ask } = await setUp(t, { timeoutMs: 200 });
  fake.metadataMood = { kind: 'hang' };
  const startedMs = performance.now();
  await assert.rejects(ask(), failsWith('ERR_STS_UNAVAILABLE', /cannot be reached/));
  assert.ok(performance.now() - startedMs < 3000);
});

test('an issued token is dated from when its request was sent, not from when it came', async (t) => {
  const { fake, ask, clock } = await setUp(t);
  const gate = deferred<void>();
  fake.mood = { kind: 'issue', until: gate.promise };
  const sentMs = clock.monotonicMs();
  const asking = ask();
  while (fake.requests.length === 0) await new Promise(setImmediate);
  clock.advance(4000);
  gate.resolve();
  assert.equal((await asking).sentAtMs, sentMs);
});
