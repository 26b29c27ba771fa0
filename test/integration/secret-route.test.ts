import assert from 'node:assert/strict';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { echo, respond } from '../harness/fake-upstream.ts';
import { type GatewayOptions, startGateway, startPlainGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { temporaryFolder } from '../harness/lifetime.ts';

const KEY = 'key-4f2a9c1e7b8d';

function writeSecret(file: string, value: string): void {
  // As Kubernetes and secret managers do: never in place.
  writeFileSync(`${file}.new`, value);
  renameSync(`${file}.new`, file);
}

async function startSecret(t: TestContext, { route = {}, ...options }: GatewayOptions = {}) {
  const file = join(temporaryFolder(t), 'key');
  writeSecret(file, `${KEY}\n`);
  const secret = { name: 'weather', credential: 'secret', secret: { file } };
  const { app, upstream } = await startPlainGateway(t, { ...options, route: { ...secret, ...route } });
  const send = (headers: Record<string, string> = {}, body = '{}') => call(`${app.url}/plain`, { headers, body });
  const seen = (name: string) => upstream.requests.map(({ headers }) => headers[name]);
  return { app, upstream, file, send, seen };
}

test('sends the secret as a bearer token or in another header, and drops the header of the agent', async (t) => {
  for (const [send, header, value] of [
    [undefined, 'authorization', `Bearer ${KEY}`],
    [{ header: 'X-API-Key' }, 'x-api-key', KEY],
    [{ header: 'X-API-Key', scheme: 'Key' }, 'x-api-key', `Key ${KEY}`],
    [{ scheme: 'token' }, 'authorization', `token ${KEY}`],
    [{ header: 'authorization', scheme: '' }, 'authorization', KEY],
  ] as const) {
    const setup = await startSecret(t, { route: send === undefined ? {} : { send } });
    const own = { authorization: 'Bearer of-the-agent', 'x-api-key': 'own-key-1', x_api_key: 'own-key-1' };
    assert.equal((await setup.send(own)).status, 200);
    assert.deepEqual(setup.seen(header), [value]);
    const sent = setup.upstream.requests[0]?.rawHeaders ?? [];
    assert.ok(!sent.some((text) => text.includes('Bearer of-the-agent')));
    if (header === 'x-api-key') assert.ok(!sent.includes('own-key-1'));
    assert.equal(sent.filter((name) => name.toLowerCase() === header).length, 1);
    for (const text of [setup.app.logText(), await setup.app.metrics()]) assert.ok(!text.includes(KEY));
  }
});

test('sends an issued token where send says', async (t) => {
  const { app, authorization, upstream, authorizationServer } = await startGateway(t, {
    route: { send: { header: 'X-Backend-Token' } },
  });
  for (let count = 0; count < 2; count += 1) {
    assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  }
  const [{ issued } = { issued: undefined }] = authorizationServer.requests;
  for (const { headers } of upstream.requests) {
    assert.equal(headers['x-backend-token'], issued);
    assert.equal(headers.authorization, undefined);
  }
});

test('follows a rotated file, also when the backend refuses the old secret first', async (t) => {
  // A file that did not change for some seconds is remembered, and checked ten times a second.
  const nowMs = Date.now.bind(Date);
  t.mock.method(Date, 'now', () => nowMs() + 60_000);
  let valid = `Bearer ${KEY}`;
  const setup = await startSecret(t, {
    handler: (request, response) =>
      (request.headers.authorization === valid ? echo : respond(401, 'no', {}))(request, response),
  });
  assert.equal((await setup.send()).status, 200);
  writeSecret(setup.file, 'second-key');
  valid = 'Bearer second-key';
  assert.equal((await setup.send()).status, 200);

  // The file changes while the request is at the backend.
  setup.upstream.handler = async (request, response) => {
    if (request.headers.authorization === 'Bearer third-key') return echo(request, response);
    writeSecret(setup.file, 'third-key');
    return respond(401, 'no')(request, response);
  };
  const { status, text } = await setup.send({}, '{"a":1}');
  assert.equal(status, 200);
  assert.equal(JSON.parse(text).body, '{"a":1}');
});

test('returns its own error when the backend refuses the secret, after one request', async (t) => {
  const challenge = { 'www-authenticate': 'Bearer resource_metadata="https://elsewhere.example.com"' };
  const { send, upstream, app } = await startSecret(t, { handler: respond(401, `no ${KEY}`, challenge) });
  const response = await send();
  assertProblem(response, 'ERR_UPSTREAM_REFUSED_TOKEN');
  assert.equal(response.headers['www-authenticate'], undefined);
  assert.equal(upstream.requests.length, 1);
  assert.match(app.logText(), /route \\"weather\\": the upstream refused the secret, and its file has no other/);
  assert.ok(!app.logText().includes(KEY));
});

test('forwards nothing while the secret is missing, empty or not a header value', async (t) => {
  const { send, upstream, file, app } = await startSecret(t);
  for (const value of ['', 'two\nlines', 'nul\0', 'ümlaut', undefined]) {
    if (value === undefined) rmSync(file);
    else writeSecret(file, value);
    assertProblem(await send(), 'ERR_CREDENTIAL_UNAVAILABLE');
    assert.ok(!value || !app.logText().includes(value));
  }
  assert.equal(upstream.requests.length, 0);
});

test('refuses web pages, because the route needs no caller', async (t) => {
  const { send, upstream } = await startSecret(t);
  assertProblem(await send({ origin: 'https://evil.example.com' }), 'ERR_CROSS_SITE_REQUEST');
  assertProblem(await send({ 'sec-fetch-site': 'cross-site' }), 'ERR_CROSS_SITE_REQUEST');
  assertProblem(await send({ host: 'rebound.example.com' }), 'ERR_CROSS_SITE_REQUEST');
  assert.equal(upstream.requests.length, 0);
});

test('requires a valid token of the caller where subject_token.verify is set', async (t) => {
  const issuer = await startFakeAuthorizationServer(t);
  const verify = { issuer: issuer.issuer, audience: 'cambist' };
  const { send, seen, upstream } = await startSecret(t, { route: { subject_token: { verify } } });
  const missing = await send();
  assertProblem(missing, 'ERR_SUBJECT_TOKEN_MISSING');
  assert.match(missing.headers['www-authenticate'] ?? '', /resource_metadata=/);
  for (const token of ['made.up.token', await issuer.mint({ audience: 'other' })]) {
    assertProblem(await send({ authorization: `Bearer ${token}` }), 'ERR_SUBJECT_TOKEN_INVALID');
  }
  assert.equal(upstream.requests.length, 0);
  const authorization = `Bearer ${await issuer.mint()}`;
  assert.equal((await send({ authorization, origin: 'https://app.example.com' })).status, 200);
  assert.deepEqual(seen('authorization'), [`Bearer ${KEY}`]);
});

test('names the scopes of a verified token in a 401, and keeps a scope of the backend from the caller', async (t) => {
  const issuer = await startFakeAuthorizationServer(t);
  const subjectToken = { scope: 'openid agent', verify: { issuer: issuer.issuer, audience: 'cambist' } };
  const challenge = `Bearer error="insufficient_scope", scope="repo:write ${KEY}"`;
  const { send, app } = await startSecret(t, {
    handler: respond(403, 'no', { 'www-authenticate': challenge }),
    route: { subject_token: subjectToken },
  });
  assert.match((await send()).headers['www-authenticate'] ?? '', /^Bearer scope="openid agent", resource_metadata=/);
  const response = await send({ authorization: `Bearer ${await issuer.mint()}` });
  assert.deepEqual([response.status, response.text, response.headers['www-authenticate']], [403, 'no', undefined]);
  await eventually('the scope is logged', () => app.logText().includes('"scopes_missing":"repo:write [redacted]"'));
  assert.ok(!app.logText().includes(KEY));
});
