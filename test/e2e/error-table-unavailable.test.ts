import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { CANARY, provokeProblem } from '../harness/expected-problem.ts';
import { type Behaviour, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { type FakeSetup, type FakeSetupOptions, SETUP_SERVER, startFakeSetup } from '../harness/fake-setup.ts';

const UNAVAILABLE = { code: 'ERR_STS_UNAVAILABLE', failedExchanges: 1 } as const;

/** Overrides keys of the only authorization server. */
function serverKeys(keys: Record<string, unknown>): NonNullable<FakeSetupOptions['change']> {
  return (config) => ({
    ...config,
    authorization_servers: { [SETUP_SERVER]: { ...config.authorization_servers[SETUP_SERVER], ...keys } },
  });
}

async function fail(setup: FakeSetup, expected: Partial<Parameters<typeof provokeProblem>[2]> = {}) {
  const headers = await setup.bearer();
  return provokeProblem(setup, { headers }, { ...UNAVAILABLE, ...expected });
}

test('returns ERR_STS_UNAVAILABLE when the authorization server refuses connections', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  await setup.authorizationServer.close();
  await fail(setup, { tokenRequests: 0 });
});

const FAULTS: Record<string, Behaviour> = {
  'closes the connection': { kind: 'reset' },
  'never responds': { kind: 'hang' },
  'never completes its response': { kind: 'drip', intervalMs: 20 },
  'returns 500': { kind: 'response', status: 500, body: CANARY },
  'returns 502 in HTML': { kind: 'response', status: 502, body: `<h1>${CANARY}</h1>` },
  'returns 503 with an OAuth error': {
    kind: 'response',
    status: 503,
    body: { error: 'invalid_grant', error_description: CANARY },
  },
  'returns 408': { kind: 'response', status: 408, body: '' },
};
/** One for all faults, because each of them is followed by a success. */
let faulty: FakeSetup | undefined;
after(() => faulty?.close());
for (const [fault, behaviour] of Object.entries(FAULTS)) {
  test(`returns an error when the authorization server ${fault}, and exchanges again for the next caller`, async () => {
    faulty ??= await startFakeSetup({ change: serverKeys({ timeout: '300ms' }) });
    faulty.authorizationServer.queue.push(behaviour);
    await fail(faulty);
    assert.equal((await faulty.call({ headers: await faulty.bearer() })).status, 200);
  });
}

test('makes no exchange for any caller during the Retry-After of a 429', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const known = await setup.bearer();
  assert.equal((await setup.call({ headers: known })).status, 200);
  setup.authorizationServer.queue.push({
    kind: 'response',
    status: 429,
    body: CANARY,
    headers: { 'retry-after': '40' },
  });
  await fail(setup, { retryAfter: '40' });
  const { headers } = await fail(setup, { failedExchanges: 0 });
  const seconds = Number(headers['retry-after']);
  assert.ok(seconds > 20 && seconds <= 40, `Retry-After: ${seconds}`);
  assert.equal((await setup.call({ headers: known })).status, 200, 'cached tokens are still used');
});

test('accepts a date in Retry-After', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const date = new Date(Date.now() + 30_000).toUTCString();
  setup.authorizationServer.queue.push({ kind: 'response', status: 503, headers: { 'retry-after': date } });
  const { headers } = await fail(setup);
  const seconds = Number(headers['retry-after']);
  assert.ok(seconds > 20 && seconds <= 30, `Retry-After: ${seconds}`);
});

test('makes no exchange after several failures in a row, until the authorization server recovers', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const { authorizationServer } = setup;
  const known = await setup.bearer();
  assert.equal((await setup.call({ headers: known })).status, 200);
  authorizationServer.behaviour = { kind: 'response', status: 500, body: CANARY };
  const newCallers = await Promise.all([1, 2, 3, 4, 5, 6].map(() => setup.bearer()));
  // Concurrently, so that the cooldown after the last failure lasts for seconds.
  await Promise.all(newCallers.map((headers) => setup.call({ headers })));
  const before = authorizationServer.requests.length;
  await fail(setup, { failedExchanges: 0 });
  assert.equal(authorizationServer.requests.length, before, 'the breaker is open');
  assert.equal((await setup.call({ headers: known })).status, 200, 'cached tokens are still used');

  authorizationServer.behaviour = { kind: 'issue' };
  const headers = await setup.bearer();
  await eventually('a probe finds the server available', async () => (await setup.call({ headers })).status === 200);
});

const INVALID_METADATA: Record<string, Record<string, unknown> | Behaviour> = {
  'of another issuer': { issuer: 'https://canary.example.com' },
  'in HTML': { kind: 'response', status: 200, body: `<h1>${CANARY}</h1>` },
};
for (const [flaw, fields] of Object.entries(INVALID_METADATA)) {
  test(`reports invalid metadata, and is not ready: metadata ${flaw}`, async (t) => {
    const setup = await startFakeSetup({
      ready: false,
      prepare: ({ authorizationServer }) => {
        authorizationServer.metadataBehaviour = 'kind' in fields ? (fields as never) : { kind: 'document', fields };
      },
    });
    t.after(setup.close);
    await fail(setup, { code: 'ERR_STS_METADATA_INVALID', tokenRequests: 0 });
    const readiness = await fetch(`${setup.cambist.adminUrl}/readyz`);
    assert.equal(readiness.status, 503);
    assert.deepEqual(await readiness.json(), {
      ready: false,
      checks: { [`authorization_servers.${SETUP_SERVER}`]: 'ERR_STS_METADATA_INVALID' },
    });
    await setup.cambist.waitForLog(({ msg, check }) => msg === 'not ready' && check === 'authorization_servers.local');
    assert.match(setup.cambist.stdout(), /\/\.well-known\/oauth-authorization-server/);
  });
}

test('returns ERR_STS_UNAVAILABLE when the metadata request returns 503', async (t) => {
  const setup = await startFakeSetup({
    ready: false,
    prepare: ({ authorizationServer }) => {
      authorizationServer.metadataBehaviour = { kind: 'response', status: 503, body: CANARY };
    },
  });
  t.after(setup.close);
  await fail(setup, { tokenRequests: 0 });
});

test('returns ERR_STS_UNAVAILABLE when the certificate of the authorization server is untrusted', async (t) => {
  const tls = createCertificateAuthority().issueServer();
  const server = await startFakeAuthorizationServer({ tls });
  t.after(server.close);
  const setup = await startFakeSetup({ ready: false, change: serverKeys({ issuer: server.issuer }) });
  t.after(setup.close);
  await fail(setup, { tokenRequests: 0 });
  assert.deepEqual(server.requests, []);
});
