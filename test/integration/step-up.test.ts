import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import { eventually, soon } from '../harness/eventually.ts';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
import { sendAnswer } from '../harness/faults.ts';
import { startGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';

const CHALLENGE = 'Bearer error="insufficient_scope", scope="repo:write"';

/** 403 to whom lacks a scope, 200 and the body to whom has it. */
function wanting(scope: string, challenge = CHALLENGE): UpstreamHandler {
  return async (request, response) => {
    const body = await request.body();
    const token = request.authorization[0]?.replace('Bearer ', '') ?? '';
    const scopes = String(decodeJwt(token).scope ?? '').split(' ');
    if (scopes.includes(scope)) sendAnswer(response, 200, body);
    else sendAnswer(response, 403, 'more, please', { 'www-authenticate': challenge });
  };
}

async function startStepUp(t: TestContext, keys: Record<string, unknown> = {}, handler = wanting('repo:write')) {
  const gateway = await startGateway(t, {
    handler,
    route: { scope: 'repo:read', step_up: ['repo:write', 'x'], ...keys },
  });
  const { app, authorization, authorizationServer } = gateway;
  const send = (headers: Record<string, string | number> = {}, body: string | Buffer = 'hello') =>
    call(`${app.url}/github`, { body, headers: { authorization, ...headers } });
  const scopes = () => authorizationServer.requests.map(({ form }) => form.get('scope'));
  return { ...gateway, send, scopes };
}

test('a scope that the upstream wants and the route allows is asked for once, and the request sent once more', async (t) => {
  const { send, scopes, upstream, app } = await startStepUp(t);
  const answered = await send({ 'x-request-id': 'step-1' });
  assert.deepEqual([answered.status, answered.text], [200, 'hello']);
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write']);
  assert.equal(upstream.requests.length, 2);
  assert.equal(sumSamples(await app.metrics(), 'cambist_upstream_retries_total', { route: 'github' }), 1);
  const line = app.logs.find(({ msg, request_id: id }) => msg === 'request' && id === 'step-1');
  assert.deepEqual([line?.status, line?.outcome, line?.step_up], [200, 'forwarded', 'repo:write']);
});

test('the wider token is kept for that session, and for no other', async (t) => {
  const { send, scopes, upstream } = await startStepUp(t);
  const session = { 'mcp-session-id': 's-1' };
  await send(session);
  upstream.requests.length = 0;
  assert.equal((await send(session)).status, 200);
  assert.deepEqual([upstream.requests.length, scopes().length], [1, 2]);
  await send({ 'mcp-session-id': 's-2' });
  assert.deepEqual(scopes().slice(2), ['repo:read', 'repo:read repo:write']);
});

test('it is dropped with the session', async (t) => {
  const { send, scopes, app, authorization, upstream } = await startStepUp(t);
  const session = { 'mcp-session-id': 's-1' };
  await send(session);
  upstream.handler = (_request, response) => sendAnswer(response, 200, '');
  await call(`${app.url}/github`, { method: 'DELETE', headers: { authorization, ...session } });
  assert.equal(sumSamples(await app.metrics(), 'cambist_cache_entries'), 0);
  await send(session);
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write', 'repo:read']);
});

test('requests at once lead to one wider exchange', async (t) => {
  const { send, scopes } = await startStepUp(t);
  const answers = await Promise.all(Array.from({ length: 20 }, () => send()));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write']);
});

for (const [what, keys, challenge] of [
  ['the route allows none', { step_up: [] }, CHALLENGE],
  ['the route allows another', { step_up: ['x'] }, CHALLENGE],
  ['one of several is not allowed', {}, 'Bearer error="insufficient_scope", scope="repo:write repo:admin"'],
  ['nothing is to add', {}, 'Bearer error="insufficient_scope", scope="repo:read"'],
  ['no scope is named', {}, 'Bearer error="insufficient_scope"'],
  ['it says something else', {}, 'Bearer error="invalid_token", scope="repo:write"'],
  ['it cannot be read', {}, 'Bearer error="insufficient_scope", scope="repo:write'],
] as const) {
  test(`a 403 is passed on as it is where ${what}`, async (t) => {
    const { send, scopes, upstream } = await startStepUp(t, keys, wanting('repo:write', challenge));
    const answered = await send();
    assert.deepEqual([answered.status, answered.text], [403, 'more, please']);
    assert.equal(answered.headers['www-authenticate'], challenge);
    assert.deepEqual([upstream.requests.length, scopes()], [1, ['repo:read']]);
  });
}

test('a 403 to the second attempt is passed on', async (t) => {
  const { send, upstream, scopes } = await startStepUp(t, {}, wanting('never'));
  assert.deepEqual([(await send()).status, upstream.requests.length], [403, 2]);
  assert.equal(scopes().length, 2);
});

test('a request that cannot be sent again gets the 403, to the byte', async (t) => {
  const { send, upstream, scopes } = await startStepUp(t, { retry_body_limit: '1KiB' });
  const answered = await send({}, Buffer.alloc(5000, 'x'));
  assert.deepEqual([answered.status, answered.text, upstream.requests.length], [403, 'more, please', 1]);
  assert.equal(scopes().length, 1);
});

test('where the wider token cannot be had the caller gets the 403 as it was, and the narrow token serves on', async (t) => {
  const { send, authorizationServer, upstream, scopes } = await startStepUp(t);
  const refusal = { kind: 'answer', status: 400, body: { error: 'invalid_scope' } } as const;
  authorizationServer.mood = ({ form }) =>
    form.get('scope')?.includes('repo:write') === true ? refusal : { kind: 'issue' };
  for (let i = 0; i < 3; i += 1) {
    const answered = await send();
    assert.deepEqual([answered.status, answered.text], [403, 'more, please']);
    assert.equal(answered.headers['www-authenticate'], CHALLENGE);
  }
  // The refusal is remembered, so that the authorization server is not asked each time.
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write']);
  assert.equal(upstream.requests.length, 3);
});

test('an answer that is large, or has no end, does not hold up the second attempt', async (t) => {
  const { send, upstream } = await startStepUp(t);
  const willing = wanting('repo:write');
  upstream.handler = (request, response) => {
    if (upstream.requests.length > 1) return willing(request, response);
    response.writeHead(403, { 'www-authenticate': CHALLENGE });
    response.write(Buffer.alloc(300_000));
  };
  assert.equal((await send()).status, 200);
});

test('a route without step-up does not share the wider token of one that is like it otherwise', async (t) => {
  const { config, app, authorization, scopes } = await startStepUp(t);
  const [github] = config.routes;
  app.reloadTo({ ...config, routes: [github, { ...github, name: 'narrow', match: { path: '/narrow' }, step_up: [] }] });
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  assert.equal((await call(`${app.url}/narrow`, { headers: { authorization } })).status, 403);
  assert.deepEqual(scopes(), ['repo:read', 'repo:read repo:write', 'repo:read']);
});

test('a HEAD that is answered 403, and whose step-up fails, is answered, and the connection goes on', async (t) => {
  const { app, authorization, authorizationServer } = await startStepUp(t);
  authorizationServer.mood = ({ form }) =>
    form.get('scope')?.includes('repo:write') === true
      ? { kind: 'answer', status: 400, body: { error: 'invalid_scope' } }
      : { kind: 'issue' };
  const connection = await connectRaw(app.url);
  t.after(() => connection.socket.destroy());
  const head = `HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n\r\n`;
  connection.send(`HEAD /github ${head}`);
  await soon('the answer to the HEAD', connection.until(/^HTTP\/1\.1 403 [\s\S]*\r\n\r\n/));
  await eventually('it is over', () => app.logs.some(({ msg, method }) => msg === 'request' && method === 'HEAD'));
  connection.send(`GET /github ${head}`);
  await soon('the answer to the GET', connection.until('more, please'));
});
