import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import { eventually, soon } from '../harness/eventually.ts';
import { sendResponse, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { respond, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { type GatewayConfig, startGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';

const CHALLENGE = 'Bearer error="insufficient_scope", scope="repo:write"';

/** Returns 403 to a token without the scope, and 200 with the request's body to a token that has it. */
function requireScope(scope: string, challenge = CHALLENGE): UpstreamHandler {
  return async (request, response) => {
    const body = await request.body();
    const token = request.authorization[0]?.replace('Bearer ', '') ?? '';
    const scopes = String(decodeJwt(token).scope ?? '').split(' ');
    if (scopes.includes(scope)) sendResponse(response, 200, body);
    else sendResponse(response, 403, 'more, please', { 'www-authenticate': challenge });
  };
}

async function startStepUp(t: TestContext, keys: Record<string, unknown> = {}, handler = requireScope('repo:write')) {
  const gateway = await startGateway(t, {
    handler,
    route: { scope: 'repo:read', step_up: ['repo:write', 'x'], ...keys },
  });
  const { app, authorization, authorizationServer } = gateway;
  // Callers can get more scopes at this issuer, so challenges that ask for them pass.
  const config = withIssuer(gateway.config, authorizationServer.issuer);
  app.reloadTo(config);
  const send = (headers: Record<string, string | number> = {}, body: string | Buffer = 'hello') =>
    call(`${app.url}/github`, { body, headers: { authorization, ...headers } });
  const scopes = () => authorizationServer.requests.map(({ form }) => form.get('scope'));
  return { ...gateway, config, send, scopes };
}

function withIssuer(config: GatewayConfig, issuer: string): GatewayConfig {
  return { ...config, authorization_servers: { local: { ...config.authorization_servers.local, issuer } } };
}

test('exchanges for a token with a scope that the upstream requires and the route allows, and retries', async (t) => {
  const { send, scopes, upstream, app } = await startStepUp(t);
  const response = await send({ 'x-request-id': 'step-1' });
  assert.deepEqual([response.status, response.text], [200, 'hello']);
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write']);
  assert.equal(upstream.requests.length, 2);
  assert.equal(sumSamples(await app.metrics(), 'cambist_upstream_retries_total', { route: 'github' }), 1);
  const line = app.logs.find(({ msg, request_id: id }) => msg === 'request' && id === 'step-1');
  assert.deepEqual([line?.status, line?.outcome, line?.step_up], [200, 'forwarded', 'repo:write']);
});

test('caches the wider token for its session only', async (t) => {
  const { send, scopes, upstream } = await startStepUp(t);
  const session = { 'mcp-session-id': 's-1' };
  await send(session);
  upstream.requests.length = 0;
  assert.equal((await send(session)).status, 200);
  assert.deepEqual([upstream.requests.length, scopes().length], [1, 2]);
  await send({ 'mcp-session-id': 's-2' });
  assert.deepEqual(scopes().slice(2), ['repo:read', 'repo:read repo:write']);
});

test('uses the wider token for every request of a caller without session ids, and for no other caller', async (t) => {
  const { send, scopes, upstream, authorizationServer } = await startStepUp(t);
  const revision = { 'mcp-protocol-version': '2026-07-28' };
  await send(revision);
  upstream.requests.length = 0;
  for (const body of ['one', 'two']) assert.equal((await send(revision, body)).status, 200);
  assert.deepEqual([upstream.requests.length, scopes()], [2, ['repo:read', 'repo:read repo:write']]);
  const authorization = `Bearer ${await authorizationServer.mint({ subject: 'bob' })}`;
  await send({ ...revision, authorization });
  assert.deepEqual(scopes().slice(2), ['repo:read', 'repo:read repo:write']);
});

for (const [condition, keys, challenge] of [
  ['the route allows no step-up', { step_up: [] }, CHALLENGE],
  ['the route allows another scope only', { step_up: ['x'] }, CHALLENGE],
  ['the route allows only one of two scopes', {}, 'Bearer error="insufficient_scope", scope="repo:write repo:admin"'],
  ['the token has the scope already', {}, 'Bearer error="insufficient_scope", scope="repo:read"'],
  ['the challenge names no scope', {}, 'Bearer error="insufficient_scope"'],
  ['the challenge has another error', {}, 'Bearer error="invalid_token", scope="repo:write"'],
] as const) {
  test(`relays a 403 unchanged if ${condition}`, async (t) => {
    const { send, scopes, upstream } = await startStepUp(t, keys, requireScope('repo:write', challenge));
    const response = await send();
    assert.deepEqual([response.status, response.text], [403, 'more, please']);
    assert.equal(response.headers['www-authenticate'], challenge);
    assert.deepEqual([upstream.requests.length, scopes()], [1, ['repo:read']]);
  });
}

test('relays a 403 to the retry', async (t) => {
  const { send, upstream, scopes } = await startStepUp(t, {}, requireScope('never'));
  assert.deepEqual([(await send()).status, upstream.requests.length], [403, 2]);
  assert.equal(scopes().length, 2);
});

test('relays the 403 unchanged if the body is too large to retry', async (t) => {
  const { send, upstream, scopes } = await startStepUp(t, { retry_body_limit: '1KiB' });
  const response = await send({}, Buffer.alloc(5000, 'x'));
  assert.deepEqual([response.status, response.text, upstream.requests.length], [403, 'more, please', 1]);
  assert.equal(scopes().length, 1);
});

test('relays the 403 unchanged if the wider exchange is refused, and remembers the refusal', async (t) => {
  const { send, authorizationServer, upstream, scopes } = await startStepUp(t);
  const refusal = { kind: 'response', status: 400, body: { error: 'invalid_scope' } } as const;
  authorizationServer.behaviour = ({ form }) =>
    form.get('scope')?.includes('repo:write') === true ? refusal : { kind: 'issue' };
  for (let i = 0; i < 3; i += 1) {
    const response = await send();
    assert.deepEqual([response.status, response.text], [403, 'more, please']);
    assert.equal(response.headers['www-authenticate'], CHALLENGE);
  }
  // The refusal is cached, so that later requests cause no exchange.
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write']);
  assert.equal(upstream.requests.length, 3);
});

for (const [unusable, behaviour] of [
  ['is for another backend', { kind: 'issue', audience: 'https://elsewhere.example.com' }],
  ['is expired', { kind: 'issue', ttlSeconds: -60 }],
  ['is empty', { kind: 'issue', accessToken: '' }],
] as const) {
  test(`makes no exchange for each request if the wider token ${unusable}`, async (t) => {
    const { send, authorizationServer, upstream, scopes } = await startStepUp(t);
    authorizationServer.behaviour = ({ form }) =>
      form.get('scope')?.includes('repo:write') === true ? behaviour : { kind: 'issue' };
    for (let i = 0; i < 3; i += 1) {
      const response = await send({ 'mcp-session-id': `s-${i}` });
      assert.deepEqual([response.status, response.text], [403, 'more, please']);
    }
    assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write', 'repo:read', 'repo:read']);
    assert.equal(upstream.requests.length, 3);
  });
}

test('retries without waiting for the end of the 403', async (t) => {
  const { send, upstream } = await startStepUp(t);
  const accept = requireScope('repo:write');
  upstream.handler = (request, response) => {
    if (upstream.requests.length > 1) return accept(request, response);
    response.writeHead(403, { 'www-authenticate': CHALLENGE });
    response.write(Buffer.alloc(300_000));
  };
  assert.equal((await send()).status, 200);
});

test('does not share the wider token with an otherwise equal route without step-up', async (t) => {
  const { config, app, authorization, scopes } = await startStepUp(t);
  const [github] = config.routes;
  app.reloadTo({ ...config, routes: [github, { ...github, name: 'narrow', match: { path: '/narrow' }, step_up: [] }] });
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  assert.equal((await call(`${app.url}/narrow`, { headers: { authorization } })).status, 403);
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write', 'repo:read']);
});

test('keeps the connection usable after a 403 to a HEAD whose step-up fails', async (t) => {
  const { app, authorization, authorizationServer } = await startStepUp(t);
  authorizationServer.behaviour = ({ form }) =>
    form.get('scope')?.includes('repo:write') === true
      ? { kind: 'response', status: 400, body: { error: 'invalid_scope' } }
      : { kind: 'issue' };
  const connection = await connectRaw(app.url);
  t.after(() => connection.socket.destroy());
  const head = `HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n\r\n`;
  connection.send(`HEAD /github ${head}`);
  await soon('the response to the HEAD', connection.until(/^HTTP\/1\.1 403 [\s\S]*\r\n\r\n/));
  await eventually('the HEAD is logged', () =>
    app.logs.some(({ msg, method }) => msg === 'request' && method === 'HEAD'),
  );
  connection.send(`GET /github ${head}`);
  await soon('the response to the GET', connection.until('more, please'));
});

for (const [condition, serverKeys, subjectKeys] of [
  ['the issuer of the caller is unknown', { issuer: undefined }, {}],
  ['the caller needs other scopes', {}, { scope: 'openid cambist' }],
  ['the caller sends an assertion', { grant: 'jwt_bearer' }, {}],
] as const) {
  test(`relays a 403 without its challenge for scopes if ${condition}`, async (t) => {
    const { app, config, upstream, send } = await startStepUp(t, { step_up: [], resource: [], expect_audience: 'any' });
    const server = { ...config.authorization_servers.local, ...serverKeys };
    app.reloadTo({
      ...config,
      authorization_servers: { local: server },
      routes: [{ ...config.routes[0], subject_token: subjectKeys }],
    });
    upstream.handler = respond(403, 'more, please', { 'www-authenticate': CHALLENGE });
    const response = await send();
    assert.deepEqual([response.status, response.text], [403, 'more, please']);
    assert.equal(response.headers['www-authenticate'], undefined);
  });
}

test('relays a 403 without its challenge for scopes if the token of the caller is from another issuer', async (t) => {
  const { app, upstream, send } = await startStepUp(t, { step_up: [] });
  const company = await startFakeAuthorizationServer(t);
  upstream.handler = respond(403, '', { 'www-authenticate': CHALLENGE });
  assert.equal((await send()).headers['www-authenticate'], CHALLENGE);
  const authorization = `Bearer ${await company.mint()}`;
  const response = await call(`${app.url}/github`, { body: 'hello', headers: { authorization } });
  assert.deepEqual([response.status, response.headers['www-authenticate']], [403, undefined]);
});

test('relays a 403 without its challenge for scopes if the caller signs in elsewhere', async (t) => {
  const { app, config, upstream } = await startStepUp(t, { step_up: [] });
  const company = await startFakeAuthorizationServer(t);
  const verify = { issuer: company.issuer };
  app.reloadTo({ ...config, routes: [{ ...config.routes[0], subject_token: { verify } }] });
  upstream.handler = respond(403, '', { 'www-authenticate': `${CHALLENGE}, Basic realm="x"` });
  const authorization = `Bearer ${await company.mint()}`;
  const response = await call(`${app.url}/github`, { body: 'hello', headers: { authorization } });
  assert.deepEqual([response.status, response.headers['www-authenticate']], [403, 'Basic realm="x"']);
});

test('names the missing scopes in the log line, without the token', async (t) => {
  const { app, upstream, send } = await startStepUp(t, { step_up: [] });
  upstream.handler = async (request, response) => {
    await request.body();
    const scope = `repo:write ${request.authorization[0]?.replace('Bearer ', '')} ${Array.from({ length: 50 }, (_, index) => `tool:${index}`).join(' ')}`;
    const challenge = `Bearer error="insufficient_scope", scope="${scope}"`;
    sendResponse(response, 403, '', { 'www-authenticate': challenge });
  };
  await send({ 'x-request-id': 'wants-more' });
  await eventually('the request is logged', () => app.logs.some(({ request_id: id }) => id === 'wants-more'));
  const { scopes_missing: missing } =
    app.logs.find(({ request_id: id, msg }) => id === 'wants-more' && msg === 'request') ?? {};
  assert.match(String(missing), /^repo:write \[redacted\] tool:0 tool:1 /);
  assert.equal(String(missing).length, 200);
});

test('relays the challenge for scopes that the caller is told to have', async (t) => {
  const { app, config, upstream, authorization } = await startStepUp(t, { step_up: [] });
  const [route] = config.routes;
  app.reloadTo({ ...config, routes: [{ ...route, subject_token: { scope: 'repo:read repo:write' } }] });
  upstream.handler = respond(403, 'more, please', { 'www-authenticate': CHALLENGE });
  const response = await call(`${app.url}/github`, { body: 'hello', headers: { authorization } });
  assert.equal(response.headers['www-authenticate'], CHALLENGE);
});
