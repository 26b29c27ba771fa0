import assert from 'node:assert/strict';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { assertProblem } from '../harness/problem.ts';

/** Every kind of route that forwards requests without a caller's token, and one that requires a token. */
async function startOpen(t: TestContext, keys: Record<string, unknown> = {}) {
  const gateway = await startGateway(t);
  const { app, config, upstream, subjectToken } = gateway;
  const file = join(tmpdir(), `cambist-cross-site-${process.pid}`);
  await writeFile(file, subjectToken);
  t.after(() => rm(file, { force: true }));
  const server = { client_secret: { env: 'CROSS_SITE_SECRET' }, method: 'client_secret_basic' };
  process.env.CROSS_SITE_SECRET = 'secret-of-the-client';
  t.after(() => delete process.env.CROSS_SITE_SECRET);
  const route = (name: string, own: Record<string, unknown>) => ({
    name,
    match: { path: `/${name}` },
    upstream: upstream.url,
    ...own,
    ...keys,
  });
  app.reloadTo({
    ...config,
    authorization_servers: { local: { ...config.authorization_servers.local, client_auth: server } },
    routes: [
      ...config.routes,
      route('service', { credential: 'client_credentials' }),
      route('none', { credential: 'none' }),
      route('passthrough', { credential: 'passthrough' }),
      route('missing', { on_missing_subject: 'client_credentials' }),
      route('file', { subject_token: { file } }),
    ],
  });
  return gateway;
}

const OPEN = ['service', 'none', 'passthrough', 'missing', 'file'];

const BROWSER: Record<string, Record<string, string>> = {
  'a simple cross-site POST': { origin: 'https://evil.example.org', 'content-type': 'text/plain' },
  'a cross-site GET without Origin': { 'sec-fetch-site': 'cross-site' },
  'a page of another port': { origin: 'http://127.0.0.1:1', 'sec-fetch-site': 'same-site' },
  'a page behind DNS rebinding': { host: 'evil.example.org', origin: 'http://evil.example.org' },
  'a GET of a page behind DNS rebinding': { host: 'evil.example.org' },
  'a page of the local network': { host: 'evil.local', 'sec-fetch-site': 'same-origin' },
  'a page of a name without a dot': { host: 'evil', 'sec-fetch-site': 'same-origin' },
};

for (const [request, headers] of Object.entries(BROWSER)) {
  test(`refuses ${request} on every route that does not require a caller's token`, async (t) => {
    const { app, upstream, authorizationServer } = await startOpen(t);
    for (const name of OPEN) {
      assertProblem(await call(`${app.url}/${name}`, { headers, body: '{}' }), 'ERR_CROSS_SITE_REQUEST');
    }
    assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
    const text = await app.metrics();
    const refused = { route: 'service', error: 'ERR_CROSS_SITE_REQUEST' };
    assert.equal(sumSamples(text, 'cambist_failures_total', refused), 1);
  });

  test(`forwards ${request} with a caller's token, and refuses it without one on a route that requires it`, async (t) => {
    const { app, authorization } = await startOpen(t);
    for (const name of ['github', 'passthrough', 'missing']) {
      const { status } = await call(`${app.url}/${name}`, { headers: { ...headers, authorization }, body: '{}' });
      assert.equal(status, 200, name);
    }
    assertProblem(await call(`${app.url}/github`, { headers, body: '{}' }), 'ERR_SUBJECT_TOKEN_MISSING');
  });
}

test('forwards a request from an allowed origin, and one without browser headers', async (t) => {
  const { app } = await startOpen(t, { allowed_origins: ['https://app.example.com'] });
  for (const name of OPEN) {
    for (const headers of [{}, { origin: 'https://app.example.com', 'sec-fetch-site': 'cross-site' }]) {
      assert.equal((await call(`${app.url}/${name}`, { headers, body: '{}' })).status, 200, name);
    }
    const headers = { origin: 'https://app.example.org' };
    assertProblem(await call(`${app.url}/${name}`, { headers }), 'ERR_CROSS_SITE_REQUEST');
  }
});

test('refuses a cross-site WebSocket handshake', async (t) => {
  const { app, upstream } = await startOpen(t);
  const headers = {
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    origin: 'https://evil.example.org',
  };
  assertProblem(await call(`${app.url}/service`, { headers }), 'ERR_CROSS_SITE_REQUEST');
  assert.equal(upstream.requests.length, 0);
});
