import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { CANARY, provokeProblem } from '../harness/expected-problem.ts';
import { type Mood, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { SCENE_SERVER, type Scene, type SceneOptions, startScene } from '../harness/scene.ts';

const UNAVAILABLE = { code: 'ERR_STS_UNAVAILABLE', failedExchanges: 1 } as const;

/** Lays keys over the one authorization server. */
function serverKeys(keys: Record<string, unknown>): NonNullable<SceneOptions['change']> {
  return (config) => ({
    ...config,
    authorization_servers: { [SCENE_SERVER]: { ...config.authorization_servers[SCENE_SERVER], ...keys } },
  });
}

async function fail(scene: Scene, expected: Partial<Parameters<typeof provokeProblem>[2]> = {}) {
  const headers = await scene.bearer();
  return provokeProblem(scene, { headers }, { ...UNAVAILABLE, ...expected });
}

test('an authorization server that went away is unavailable', async (t) => {
  const scene = await startScene();
  t.after(scene.close);
  await scene.authorizationServer.close();
  await fail(scene, { tokenRequests: 0 });
});

const FAULTS: Record<string, Mood> = {
  'closes the connection': { kind: 'reset' },
  'never answers': { kind: 'hang' },
  'answers without end': { kind: 'drip', intervalMs: 20 },
  'answers 500': { kind: 'answer', status: 500, body: CANARY },
  'answers 502 in HTML': { kind: 'answer', status: 502, body: `<h1>${CANARY}</h1>` },
  'answers 503 and an OAuth error': {
    kind: 'answer',
    status: 503,
    body: { error: 'invalid_grant', error_description: CANARY },
  },
  'answers 408': { kind: 'answer', status: 408, body: '' },
};
for (const [what, mood] of Object.entries(FAULTS)) {
  test(`an authorization server that ${what} is unavailable, and is asked again for the next caller`, async (t) => {
    const scene = await startScene({ change: serverKeys({ timeout: '300ms' }) });
    t.after(scene.close);
    scene.authorizationServer.queue.push(mood);
    await fail(scene);
    assert.equal((await scene.call({ headers: await scene.bearer() })).status, 200);
  });
}

test('an authorization server that is overrun is left alone, by every caller, as long as it asked', async (t) => {
  const scene = await startScene();
  t.after(scene.close);
  const known = await scene.bearer();
  assert.equal((await scene.call({ headers: known })).status, 200);
  scene.authorizationServer.queue.push({ kind: 'answer', status: 429, body: CANARY, headers: { 'retry-after': '40' } });
  await fail(scene, { retryAfter: '40' });
  const { headers } = await fail(scene, { failedExchanges: 0 });
  const seconds = Number(headers['retry-after']);
  assert.ok(seconds > 20 && seconds <= 40, `Retry-After: ${seconds}`);
  assert.equal((await scene.call({ headers: known })).status, 200, 'a cached token serves on');
});

test('a date in Retry-After is understood', async (t) => {
  const scene = await startScene();
  t.after(scene.close);
  const date = new Date(Date.now() + 30_000).toUTCString();
  scene.authorizationServer.queue.push({ kind: 'answer', status: 503, headers: { 'retry-after': date } });
  const { headers } = await fail(scene);
  const seconds = Number(headers['retry-after']);
  assert.ok(seconds > 20 && seconds <= 30, `Retry-After: ${seconds}`);
});

test('after some faults in a row nobody waits for the authorization server, until it is back', async (t) => {
  const scene = await startScene();
  t.after(scene.close);
  const { authorizationServer } = scene;
  const known = await scene.bearer();
  assert.equal((await scene.call({ headers: known })).status, 200);
  authorizationServer.mood = { kind: 'answer', status: 500, body: CANARY };
  const newcomers = await Promise.all([1, 2, 3, 4, 5, 6].map(() => scene.bearer()));
  // At once, so that the pause after the last of them is one of seconds.
  await Promise.all(newcomers.map((headers) => scene.call({ headers })));
  const before = authorizationServer.requests.length;
  await fail(scene, { failedExchanges: 0 });
  assert.equal(authorizationServer.requests.length, before, 'the breaker is open');
  assert.equal((await scene.call({ headers: known })).status, 200, 'a cached token serves on');

  authorizationServer.mood = { kind: 'issue' };
  const headers = await scene.bearer();
  await eventually('a probe finds the server back', async () => (await scene.call({ headers })).status === 200);
});

const INVALID_METADATA: Record<string, Record<string, unknown> | Mood> = {
  'of another issuer': { issuer: 'https://canary.example.com' },
  'of an issuer with a slash more': { issuer: 'http://127.0.0.1/' },
  'without a token endpoint': { token_endpoint: undefined },
  'with a token endpoint that is no URL': { token_endpoint: '/token' },
  'with a token endpoint in clear': { token_endpoint: 'http://canary.example.com/token' },
  'in HTML': { kind: 'answer', status: 200, body: `<h1>${CANARY}</h1>` },
  'that are not there': { kind: 'answer', status: 404, body: CANARY },
  'that moved': { kind: 'answer', status: 302, body: CANARY, headers: { location: 'http://127.0.0.1:1/' } },
};
for (const [what, fields] of Object.entries(INVALID_METADATA)) {
  test(`reports invalid metadata, and is not ready: metadata ${what}`, async (t) => {
    const scene = await startScene({
      ready: false,
      prepare: ({ authorizationServer }) => {
        authorizationServer.metadataMood = 'kind' in fields ? (fields as never) : { kind: 'document', fields };
      },
    });
    t.after(scene.close);
    await fail(scene, { code: 'ERR_STS_METADATA_INVALID', tokenRequests: 0 });
    const readiness = await fetch(`${scene.cambist.adminUrl}/readyz`);
    assert.equal(readiness.status, 503);
    assert.deepEqual(await readiness.json(), {
      ready: false,
      needs: { [`authorization_servers.${SCENE_SERVER}`]: 'ERR_STS_METADATA_INVALID' },
    });
    await scene.cambist.waitForLog(({ msg, need }) => msg === 'not ready' && need === 'authorization_servers.local');
    assert.match(scene.cambist.stdout(), /\/\.well-known\/oauth-authorization-server/);
  });
}

test('metadata that fails with 503 makes an authorization server unavailable', async (t) => {
  const scene = await startScene({
    ready: false,
    prepare: ({ authorizationServer }) => {
      authorizationServer.metadataMood = { kind: 'answer', status: 503, body: CANARY };
    },
  });
  t.after(scene.close);
  await fail(scene, { tokenRequests: 0 });
});

test('an authorization server whose certificate nobody vouches for is unavailable', async (t) => {
  const tls = createCertificateAuthority().issueServer();
  const server = await startFakeAuthorizationServer({ tls });
  t.after(server.close);
  const scene = await startScene({ ready: false, change: serverKeys({ issuer: server.issuer }) });
  t.after(scene.close);
  await fail(scene, { tokenRequests: 0 });
  assert.deepEqual(server.requests, []);
});
