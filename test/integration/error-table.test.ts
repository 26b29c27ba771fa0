import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../src/error-catalogue.ts';
import type { Behaviour } from '../harness/fake-authorization-server.ts';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { createLeakWatch } from '../harness/leaks.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { assertProblem } from '../harness/problem.ts';

const LEAKED_BY_SERVER = 'refresh-token-in-the-body-of-an-error-0123456789';

const refusal = (status: number, error: string, description = '', more: Record<string, unknown> = {}): Behaviour => ({
  kind: 'response',
  status,
  body: { error, error_description: description, refresh_token: LEAKED_BY_SERVER, ...more },
});

/** Responses of the authorization server, and the code that the caller gets. */
const RESPONSES: readonly (readonly [problem: string, behaviour: Behaviour, code: ErrorCode])[] = [
  ['the subject token is refused', refusal(400, 'invalid_grant'), 'ERR_SUBJECT_TOKEN_INVALID'],
  [
    'the server calls the token expired',
    refusal(400, 'invalid_request', 'subject token expired'),
    'ERR_SUBJECT_TOKEN_INVALID',
  ],
  ['the server calls the request invalid', refusal(400, 'invalid_request'), 'ERR_SUBJECT_TOKEN_INVALID'],
  [
    'the user must interact',
    refusal(400, 'interaction_required', '', { claims: '{"a":1}' }),
    'ERR_INTERACTION_REQUIRED',
  ],
  ['the target is refused', refusal(400, 'invalid_target'), 'ERR_EXCHANGE_REFUSED'],
  ['the scope is refused', refusal(400, 'invalid_scope'), 'ERR_EXCHANGE_REFUSED'],
  ['a policy refuses', refusal(403, 'access_denied'), 'ERR_EXCHANGE_REFUSED'],
  ['the audience is unknown to Keycloak', refusal(400, 'invalid_client', 'Audience not found'), 'ERR_EXCHANGE_REFUSED'],
  [
    'the audience is unavailable in Keycloak',
    refusal(400, 'invalid_request', 'Requested audience not available: github'),
    'ERR_EXCHANGE_REFUSED',
  ],
  ['our client is refused', refusal(401, 'invalid_client'), 'ERR_CLIENT_REFUSED'],
  ['our client is unauthorized', refusal(400, 'unauthorized_client'), 'ERR_CLIENT_REFUSED'],
  ['a 400 is HTML', { kind: 'response', status: 400, body: '<html></html>' }, 'ERR_STS_RESPONSE_INVALID'],
  ['a 4xx has no OAuth error', { kind: 'response', status: 418, body: '{}' }, 'ERR_STS_RESPONSE_INVALID'],
  ['the token is empty', { kind: 'issue', accessToken: '' }, 'ERR_STS_RESPONSE_INVALID'],
  ['the response is HTML', { kind: 'response', status: 200, body: '<html></html>' }, 'ERR_STS_RESPONSE_INVALID'],
  [
    'the token is for another audience',
    { kind: 'issue', audience: 'https://other.example.com' },
    'ERR_ISSUED_TOKEN_AUDIENCE',
  ],
  ['the server is overloaded', { kind: 'response', status: 429 }, 'ERR_STS_UNAVAILABLE'],
  ['the server fails', { kind: 'response', status: 500, body: LEAKED_BY_SERVER }, 'ERR_STS_UNAVAILABLE'],
  ['the server resets the connection', { kind: 'reset' }, 'ERR_STS_UNAVAILABLE'],
  ['the server does not respond', { kind: 'hang' }, 'ERR_STS_UNAVAILABLE'],
];

for (const [problem, behaviour, code] of RESPONSES) {
  test(`returns ${code} and sends nothing upstream when ${problem}`, async (t) => {
    const { app, upstream, authorizationServer, authorization, subjectToken, config } = await startGateway(t);
    const { local } = config.authorization_servers;
    app.reloadTo({ ...config, authorization_servers: { local: { ...local, timeout: '500ms' } } });
    authorizationServer.behaviour = behaviour;
    const response = await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
    assertProblem(response, code);
    assert.equal(upstream.requests.length, 0);
    const leaks = createLeakWatch();
    for (const secret of [subjectToken, LEAKED_BY_SERVER, authorizationServer.tokenEndpoint]) leaks.remember(secret);
    leaks.assertNoLeak({ response: response.text, headers: JSON.stringify(response.headers) });
    const inLog = createLeakWatch();
    for (const secret of [subjectToken, LEAKED_BY_SERVER]) inLog.remember(secret);
    inLog.assertNoLeak({ log: app.logText(), metrics: await app.metrics() });
    const errors = { route: 'github', authorization_server: 'local', result: 'failure', error: code };
    assert.equal(sumSamples(await app.metrics(), 'cambist_exchanges_total', errors), 1);
  });
}

test('returns the claims that the server requires in the challenge', async (t) => {
  const { app, authorizationServer, authorization } = await startGateway(t);
  const claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
  authorizationServer.behaviour = refusal(400, 'interaction_required', '', { claims });
  const { headers } = await call(`${app.url}/github`, { headers: { authorization } });
  const encoded = /^Bearer error="insufficient_claims", claims="([^"]+)"$/.exec(headers['www-authenticate'] ?? '')?.[1];
  assert.equal(Buffer.from(encoded ?? '', 'base64').toString(), claims);
});

test('returns the Retry-After of the server', async (t) => {
  const { app, authorizationServer, authorization } = await startGateway(t);
  authorizationServer.behaviour = { kind: 'response', status: 429, headers: { 'retry-after': '17' } };
  const { headers } = await call(`${app.url}/github`, { headers: { authorization } });
  assert.equal(headers['retry-after'], '17');
});

test('returns 401 without a subject token, also with another authentication scheme', async (t) => {
  const { app, authorizationServer } = await startGateway(t);
  for (const headers of [{}, { authorization: 'Basic dXNlcjpwYXNz' }, { authorization: 'Digest x' }]) {
    const response = await call(`${app.url}/github`, { headers });
    assertProblem(response, 'ERR_SUBJECT_TOKEN_MISSING');
    assert.equal(response.headers['www-authenticate'], 'Bearer');
  }
  assert.equal(authorizationServer.requests.length, 0);
});

test('refuses a malformed or expired subject token without a request to the authorization server', async (t) => {
  const { app, authorizationServer } = await startGateway(t);
  const expired = await authorizationServer.mint({ ttlSeconds: -60 });
  for (const token of ['two words', 'quo"ted', '', expired]) {
    const response = await call(`${app.url}/github`, { headers: { authorization: `Bearer ${token}` } });
    assertProblem(response, 'ERR_SUBJECT_TOKEN_INVALID');
  }
  assert.equal(authorizationServer.requests.length, 0);
});

test('returns 403 when no route matches', async (t) => {
  const { app, authorization } = await startGateway(t);
  for (const path of ['/', '/githubx', '/GITHUB', '/github/..%2fadmin', '/github/%2e%2e/admin', '*']) {
    const response = await call(app.url, { path, headers: { authorization } });
    assertProblem(response, 'ERR_ROUTE_NOT_FOUND');
  }
  const labels = { route: '_unmatched', method: 'GET', code: '403', outcome: 'refused' };
  assert.equal(sumSamples(await app.metrics(), 'cambist_requests_total', labels), 6);
});

test('returns ERR_CREDENTIAL_UNAVAILABLE when our client secret is missing, and serves other routes', async (t) => {
  const { app, authorization, config } = await startGateway(t, {
    moreRoutes: [{ name: 'docs', match: { path: '/docs' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  const { local } = config.authorization_servers;
  const clientAuth = { method: 'client_secret_basic', client_secret: { file: '/nowhere/client-secret' } };
  app.reloadTo({ ...config, authorization_servers: { local: { ...local, client_auth: clientAuth } } });
  const response = await call(`${app.url}/github`, { headers: { authorization } });
  assertProblem(response, 'ERR_CREDENTIAL_UNAVAILABLE');
  assert.equal(response.headers['retry-after'], '1');
  assert.doesNotMatch(response.text, /nowhere/);
  assertProblem(await call(`${app.url}/docs`), 'ERR_UPSTREAM_UNREACHABLE');
});

test('returns ERR_CREDENTIAL_UNAVAILABLE when our actor token is missing', async (t) => {
  const { app, authorization } = await startGateway(t, { route: { actor_token: { file: '/nowhere/actor' } } });
  assertProblem(await call(`${app.url}/github`, { headers: { authorization } }), 'ERR_CREDENTIAL_UNAVAILABLE');
});

test('returns ERR_STS_METADATA_INVALID when the metadata is missing or of another issuer', async (t) => {
  const { app, authorizationServer, authorization, config } = await startGateway(t);
  const discovered = { issuer: authorizationServer.issuer, client_id: 'cambist', client_auth: { method: 'none' } };
  for (const behaviour of [
    { kind: 'document', fields: { issuer: 'https://other.example.com' } },
    { kind: 'document', fields: { token_endpoint: undefined } },
    { kind: 'response', status: 200, body: '<html></html>' },
    { kind: 'response', status: 404 },
  ] as const) {
    authorizationServer.metadataBehaviour = behaviour;
    app.reloadTo({
      ...config,
      authorization_servers: { [`as-${authorizationServer.metadataRequests.length}`]: discovered },
    });
    assertProblem(await call(`${app.url}/github`, { headers: { authorization } }), 'ERR_STS_METADATA_INVALID');
  }
  assert.equal(authorizationServer.requests.length, 0);
});
