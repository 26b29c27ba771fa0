import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import { soon } from '../harness/eventually.ts';
import { type Behaviour, sendResponse, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { respond, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { startGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';

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
  const { app, authorizationServer, config } = gateway;
  /** Reloads with other keys of the server and of the route. Callers can get more scopes at this issuer, so challenges pass. */
  const reload = (server: Record<string, unknown>, route: Record<string, unknown> = {}) => {
    const local = { ...config.authorization_servers.local, issuer: authorizationServer.issuer, ...server };
    app.reloadTo({ authorization_servers: { local }, routes: [{ ...config.routes[0], ...route }] });
  };
  reload({});
  const send = (headers = {}, body: string | Buffer = 'hello') => gateway.send(headers, body);
  const scopes = () => authorizationServer.sent('scope');
  /** Sets the response to exchanges for the wider token. */
  const respondToWider = (behaviour: Behaviour) => {
    authorizationServer.behaviour = ({ form }) =>
      form.get('scope')?.includes('repo:write') === true ? behaviour : { kind: 'issue' };
  };
  return { ...gateway, reload, send, scopes, respondToWider };
}

const REFUSAL = { kind: 'response', status: 400, body: { error: 'invalid_scope' } } as const;

test('exchanges for a token with a scope that the upstream requires and the route allows, and retries', async (t) => {
  const { send, scopes, upstream, app } = await startStepUp(t);
  const response = await send({ 'x-request-id': 'step-1' });
  assert.deepEqual([response.status, response.text], [200, 'hello']);
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write']);
  assert.equal(upstream.requests.length, 2);
  assert.equal(await app.metric('cambist_upstream_retries_total', { route: 'github' }), 1);
  const line = app.logs.find(({ msg, request_id: id }) => msg === 'request' && id === 'step-1');
  assert.deepEqual([line?.status, line?.outcome, line?.step_up], [200, 'forwarded', 'repo:write']);
});

test('uses the wider token for its session only, or for every request of a caller without session ids', async (t) => {
  const { send, scopes, upstream, authorizationServer } = await startStepUp(t);
  const bob = `Bearer ${await authorizationServer.mint({ subject: 'bob' })}`;
  const revision = { 'mcp-protocol-version': '2026-07-28' };
  for (const [same, other] of [
    [{ 'mcp-session-id': 's-1' }, { 'mcp-session-id': 's-2' }],
    [revision, { ...revision, authorization: bob }],
  ] as const) {
    authorizationServer.requests.length = 0;
    await send(same);
    upstream.requests.length = 0;
    for (const body of ['one', 'two']) assert.equal((await send(same, body)).status, 200);
    assert.deepEqual([upstream.requests.length, scopes()], [2, ['repo:read', 'repo:read repo:write']]);
    await send(other);
    assert.deepEqual(scopes().slice(2), ['repo:read', 'repo:read repo:write']);
  }
});

for (const [condition, keys, challenge] of [
  ['the route allows no step-up', { step_up: [] }, CHALLENGE],
  ['the route allows another scope only', { step_up: ['x'] }, CHALLENGE],
  ['the route allows only one of two scopes', {}, 'Bearer error="insufficient_scope", scope="repo:write repo:admin"'],
  ['the token has the scope already', {}, 'Bearer error="insufficient_scope", scope="repo:read"'],
  ['the challenge has another error', {}, 'Bearer error="invalid_token", scope="repo:write"'],
  ['the body is too large to retry', { retry_body_limit: '1KiB' }, CHALLENGE],
] as const) {
  test(`relays a 403 unchanged if ${condition}`, async (t) => {
    const { send, scopes, upstream } = await startStepUp(t, keys, requireScope('repo:write', challenge));
    const response = await send({}, Buffer.alloc(5000, 'x'));
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

test('relays the 403 unchanged if the wider exchange is refused, and remembers the refusal', async (t) => {
  const { send, respondToWider, upstream, scopes } = await startStepUp(t);
  respondToWider(REFUSAL);
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
    const { send, respondToWider, upstream, scopes } = await startStepUp(t);
    respondToWider(behaviour);
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
  const { config, app, authorization, send, scopes } = await startStepUp(t);
  const [github] = config.routes;
  app.reloadTo({ ...config, routes: [github, { ...github, name: 'narrow', match: { path: '/narrow' }, step_up: [] }] });
  assert.equal((await send()).status, 200);
  assert.equal((await call(`${app.url}/narrow`, { headers: { authorization } })).status, 403);
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write', 'repo:read']);
});

test('keeps the connection usable after a 403 to a HEAD whose step-up fails', async (t) => {
  const { app, authorization, respondToWider } = await startStepUp(t);
  respondToWider(REFUSAL);
  const connection = await connectRaw(app.url);
  t.after(() => connection.socket.destroy());
  const head = `HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n\r\n`;
  connection.send(`HEAD /github ${head}`);
  await soon('the response to the HEAD', connection.until(/^HTTP\/1\.1 403 [\s\S]*\r\n\r\n/));
  await app.logged('request');
  connection.send(`GET /github ${head}`);
  await soon('the response to the GET', connection.until('more, please'));
});

const ANY = { resource: [], expect_audience: 'any' };
for (const [relays, condition, serverKeys, subjectKeys, more] of [
  [false, 'the issuer of the caller is unknown', { issuer: undefined }, {}, ANY],
  [false, 'the caller needs other scopes', {}, { scope: 'openid cambist' }, {}],
  [true, 'the caller is told to have them', {}, { scope: 'repo:read repo:write' }, {}],
  [false, 'the caller sends an assertion', { grant: 'jwt_bearer' }, {}, ANY],
] as const) {
  test(`relays a 403 ${relays ? 'with' : 'without'} its challenge for scopes if ${condition}`, async (t) => {
    const { reload, upstream, send } = await startStepUp(t, { step_up: [], ...more });
    reload(serverKeys, { subject_token: subjectKeys });
    upstream.handler = respond(403, 'more, please', { 'www-authenticate': CHALLENGE });
    const response = await send();
    assert.deepEqual([response.status, response.text], [403, 'more, please']);
    assert.equal(response.headers['www-authenticate'], relays ? CHALLENGE : undefined);
  });
}

test('relays a 403 without its challenge for scopes if the token of the caller is from another issuer', async (t) => {
  const { reload, upstream, send } = await startStepUp(t, { step_up: [] });
  const company = await startFakeAuthorizationServer(t);
  upstream.handler = respond(403, '', { 'www-authenticate': `${CHALLENGE}, Basic realm="x"` });
  const challenge = async (headers = {}) => (await send(headers)).headers['www-authenticate'];
  const foreign = { authorization: `Bearer ${await company.mint()}` };
  assert.deepEqual([await challenge(), await challenge(foreign)], [`${CHALLENGE}, Basic realm="x"`, 'Basic realm="x"']);
  // The caller signs in there.
  reload({}, { subject_token: { verify: { issuer: company.issuer } } });
  assert.equal(await challenge(foreign), 'Basic realm="x"');
});

test('names the missing scopes in the log line, without the token', async (t) => {
  const { app, upstream, send } = await startStepUp(t, { step_up: [] });
  upstream.handler = async (request, response) => {
    await request.body();
    const tools = Array.from({ length: 50 }, (_, index) => `tool:${index}`);
    const scope = ['repo:write', request.authorization[0]?.replace('Bearer ', ''), ...tools].join(' ');
    const challenge = `Bearer error="insufficient_scope", scope="${scope}"`;
    sendResponse(response, 403, '', { 'www-authenticate': challenge });
  };
  await send();
  const [{ scopes_missing: missing } = {}] = await app.logged('request');
  assert.match(String(missing), /^repo:write \[redacted\] tool:0 tool:1 /);
  assert.equal(String(missing).length, 200);
});
