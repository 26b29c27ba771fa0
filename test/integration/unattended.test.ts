import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type AgentFetch, SDK_V1, SDK_V2_NEGOTIATED } from '../harness/agent-client.ts';
import { startTestApp } from '../harness/app.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { respond } from '../harness/fake-upstream.ts';
import { clientOf, type GatewayOptions, startGateway, startInboundGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { startMcpBackend } from '../harness/mcp-fixture/server.ts';

const HANDSHAKES_AND_LISTS = [
  ...['initialize', 'notifications/initialized', 'server/discover', 'ping'],
  ...['tools/list', 'prompts/list', 'resources/list', 'resources/templates/list'],
];

const message = (method: string, params?: Record<string, unknown>) =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
const LIST = message('tools/list');
const CALL = message('tools/call', { name: 'drop', arguments: {} });

type Body = string | Buffer | undefined;

/** A route with `unattended`. Requests go to the path below it. */
async function start(t: TestContext, { route, ...options }: GatewayOptions = {}) {
  const gateway = await startGateway(t, { ...options, route: { unattended: 'client_credentials', ...route } });
  const { app, authorizationServer, upstream } = gateway;
  const send = (body: Body, headers: Record<string, string> = {}, method?: string) =>
    call(`${app.url}/github`, {
      ...(body !== undefined && { body }),
      headers,
      ...(method !== undefined && { method }),
    });
  const grants = () => authorizationServer.requests.map(({ form }) => form.get('grant_type')?.split(':').at(-1));
  /** Nothing was sent anywhere. */
  const assertUnsent = (what?: string) =>
    assert.equal(authorizationServer.requests.length + upstream.requests.length, 0, what);
  return { ...gateway, send, grants, assertUnsent };
}

test('sends handshakes and lists without a caller with a token of cambist itself, byte by byte', async (t) => {
  const { send, grants, upstream, app } = await start(t);
  for (const method of HANDSHAKES_AND_LISTS) {
    const body = ` ${message(method, { cursor: 'ä' })}\n`;
    for (const framing of [{}, { 'transfer-encoding': 'chunked' }] as Record<string, string>[]) {
      assert.equal((await send(body, framing)).status, 200, method);
      assert.equal((await upstream.requests.at(-1)?.body())?.toString(), body);
      assert.match(String(upstream.requests.at(-1)?.authorization), /^Bearer /);
    }
  }
  assert.deepEqual(grants(), ['client_credentials']);
  const count = HANDSHAKES_AND_LISTS.length * 2;
  const lines = await app.logged('request', count);
  assert.ok(lines.every(({ grant, status }) => grant === 'client_credentials' && status === 200));
  assert.equal(await app.metric('cambist_own_token_requests_total', { route: 'github' }), count);
});

test('sends them without any token with none, and never a credential of the agent', async (t) => {
  const { send, grants, upstream, app, authorization } = await start(t, {
    route: { unattended: 'none', subject_token: { header: 'x-user-token' }, send: { header: 'X-API-Key' } },
  });
  const headers = { authorization, 'x-api-key': 'made-up-by-the-agent', cookie: `t=${authorization.slice(7)}` };
  assert.equal((await send(LIST, headers)).status, 200);
  assert.equal(upstream.requests.length, 1);
  for (const name of Object.keys(headers)) assert.equal(upstream.requests[0]?.headers[name], undefined, name);
  assert.deepEqual(grants(), []);
  const [line] = await app.logged('request');
  assert.deepEqual([line?.cache, line?.grant], ['bypass', undefined]);
  assert.doesNotMatch(await app.metrics(), /^cambist_own_token_requests_total\{/m);
});

test('a header that overrides the method does not reach the backend', async (t) => {
  const { send, upstream } = await start(t, { route: { match: { path: '/' } } });
  assert.equal((await send(LIST, { 'x-http-method-override': 'DELETE' })).status, 200);
  assert.equal(upstream.requests[0]?.headers['x-http-method-override'], undefined);
});

test("uses the caller's token where there is one, also for handshakes and lists", async (t) => {
  for (const unattended of ['client_credentials', 'none']) {
    const { send, grants, authorization } = await start(t, { route: { unattended } });
    for (const body of [message('initialize'), LIST, CALL]) {
      assert.equal((await send(body, { authorization })).status, 200);
    }
    assert.deepEqual(grants(), ['token-exchange']);
  }
});

test("refuses an invalid token of the caller, which never falls back to cambist's own", async (t) => {
  const { send, assertUnsent, authorizationServer, upstream } = await start(t);
  const expired = await authorizationServer.mint({ ttlSeconds: -600 });
  for (const authorization of [`Bearer ${expired}`, 'Bearer', 'Bearer a b', 'DPoP abcdefgh']) {
    assertProblem(await send(LIST, { authorization }), 'ERR_SUBJECT_TOKEN_INVALID');
  }
  assertProblem(await send(LIST, { authorization: 'Basic dXNlcjpwYXNz' }), 'ERR_SUBJECT_TOKEN_MISSING');
  assertUnsent();
  authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
  assertProblem(await send(LIST, { authorization: 'Bearer refused-by-the-server' }), 'ERR_SUBJECT_TOKEN_INVALID');
  assert.equal(authorizationServer.requests.length, 1);
  assert.equal(upstream.requests.length, 0);
});

/** Requests that need a caller, and the reason in the log. */
const ATTENDED: Record<string, [Body, Record<string, string>, why: RegExp, method?: string]> = {
  'a tool call': [CALL, {}, /neither a handshake nor a list/],
  'a tool call whose Mcp-Method is tools/list': [CALL, { 'mcp-method': 'tools/list' }, /Mcp-Method is not the method/],
  'a list whose Mcp-Method is tools/call': [LIST, { 'mcp-method': 'tools/call' }, /Mcp-Method is not the method/],
  'a list of 2026-07-28 without Mcp-Method': [LIST, { 'mcp-protocol-version': '2026-07-28' }, /has no Mcp-Method/],
  'a batch of lists': [`[${LIST}]`, {}, /is a batch/],
  'a second method after a list': ['{"method":"tools/list","id":1,"method":"tools/call"}', {}, /has a key twice/],
  'a method in another case': ['{"Method":"tools/call","method":"tools/list","id":1}', {}, /has a key twice/],
  'a method with a space': ['{"method":"tools/list ","id":1}', {}, /white space at an end/],
  'another list': [message('tasks/list'), {}, /neither a handshake nor a list/],
  'a response to the server': ['{"jsonrpc":"2.0","id":1,"result":{}}', {}, /neither a handshake nor a list/],
  'a compressed list': [LIST, { 'content-encoding': 'gzip' }, /is compressed/],
  'a list in another charset': [LIST, { 'content-type': 'application/json; charset=utf-7' }, /another charset/],
  'a list in UTF-16': [Buffer.from(LIST, 'utf16le'), {}, /not valid JSON in UTF-8/],
  'a list of more than 64 KiB': [`${LIST}${' '.repeat(65_536)}`, {}, /larger than 65536 bytes/],
  'a chunked list of more than 64 KiB': [LIST.padEnd(70_000), { 'transfer-encoding': 'chunked' }, /larger than/],
  'text that is not JSON': ['a=b', {}, /not valid JSON/],
  'a list by PUT': [LIST, {}, /method is not POST/, 'PUT'],
  'a GET that is not of a session': [undefined, {}, /method is not POST/],
  'a DELETE that is not of a session': [undefined, {}, /method is not POST/, 'DELETE'],
  'a WebSocket handshake': [undefined, { connection: 'upgrade', upgrade: 'websocket' }, /method is not POST/],
};

for (const [request, [body, headers, why, method]] of Object.entries(ATTENDED)) {
  test(`needs a caller for ${request}`, async (t) => {
    for (const unattended of ['client_credentials', 'none']) {
      const { send, assertUnsent, app } = await start(t, { route: { unattended } });
      const response = await send(body, headers, method);
      assertProblem(response, 'ERR_SUBJECT_TOKEN_MISSING');
      assert.match(String(response.headers['www-authenticate']), /^Bearer/);
      assertUnsent();
      assert.match(app.logText(), why);
    }
  });
}

test('forwards with a caller whatever needs one, unread', async (t) => {
  const { send, authorization, upstream } = await start(t);
  for (const [request, [body, headers, , method]] of Object.entries(ATTENDED)) {
    if (headers.upgrade !== undefined) continue;
    assert.equal((await send(body, { ...headers, authorization }, method)).status, 200, request);
  }
  assert.equal(upstream.requests.length, Object.keys(ATTENDED).length - 1);
});

test('returns 405 to GET and DELETE of a session without a caller', async (t) => {
  const { send, assertUnsent, authorization } = await start(t);
  const session = { 'mcp-session-id': 's-1' };
  const requests: [method: string, headers: Record<string, string>][] = [
    ['GET', session],
    ['DELETE', session],
    ['GET', { accept: 'text/event-stream' }],
    ['GET', { accept: 'application/json, Text/Event-Stream', ...session }],
  ];
  for (const [method, headers] of requests) {
    const { status, headers: returned, text } = await send(undefined, headers, method);
    assert.deepEqual([status, returned.allow, text], [405, 'POST', '']);
  }
  assertUnsent();
  for (const [method, headers] of requests) {
    assert.equal((await send(undefined, { ...headers, authorization }, method)).status, 200);
  }
});

test('refuses a web page that sends a list without a caller', async (t) => {
  const { send, assertUnsent, app, authorization } = await start(t, {
    route: { allowed_origins: ['https://app.example.com'] },
  });
  const simple = { 'content-type': 'text/plain' };
  for (const headers of [
    { origin: 'https://evil.example.org', ...simple },
    { 'sec-fetch-site': 'cross-site', ...simple },
    { host: 'evil.example.org' },
  ] as Record<string, string>[]) {
    assertProblem(await send(LIST, headers), 'ERR_CROSS_SITE_REQUEST');
    assertUnsent();
    assertProblem(await send(CALL, headers), 'ERR_SUBJECT_TOKEN_MISSING');
  }
  assertUnsent();
  assert.match(app.logText(), /a web page of another origin sent it/);
  assert.equal((await send(LIST, { origin: 'https://app.example.com', 'sec-fetch-site': 'cross-site' })).status, 200);
  assert.equal((await send(LIST, { origin: 'https://evil.example.org', authorization })).status, 200);
});

test('relays the 404 of a session that the backend does not know, and names the other credential', async (t) => {
  const { send, app, authorization } = await start(t, { handler: respond(404, 'Session not found') });
  for (const headers of [{}, { authorization }] as Record<string, string>[]) {
    assert.equal((await send(LIST, { 'mcp-session-id': 'stale', ...headers })).status, 404);
  }
  for (const { finding, cause } of await app.logged('request', 2)) {
    assert.equal(finding, 'session_unknown');
    assert.match(String(cause), /other credential of route "github"/);
  }
});

test('replaces an own token that the backend refuses, and never asks the caller to sign in', async (t) => {
  const { send, grants, upstream } = await start(t);
  assert.equal((await send(LIST)).status, 200);
  upstream.handler = respond(401, '', { 'www-authenticate': 'Bearer error="invalid_token"' });
  assertProblem(await send(LIST), 'ERR_UPSTREAM_REFUSED_TOKEN');
  assert.deepEqual(grants(), ['client_credentials', 'client_credentials']);
});

test('leads a client to sign in where a backend wants a token and the route sends none', async (t) => {
  const { send, app } = await start(t, {
    route: { unattended: 'none' },
    handler: respond(401, '', { 'www-authenticate': 'Bearer resource_metadata="https://mcp.example.com/metadata"' }),
  });
  const { status, headers } = await send(LIST);
  assert.equal(status, 401);
  assert.doesNotMatch(String(headers['www-authenticate']), /mcp\.example\.com/);
  assert.equal(app.logs.filter(({ level }) => level === 'error').length, 0);
});

test('takes the route by the message first, and then a list without a caller', async (t) => {
  const { config, app, send, grants } = await start(t);
  const [github] = config.routes;
  const tools = { ...github, name: 'tools', match: { path: '/github', mcp_method: 'tools/*' } };
  app.reloadTo({ ...config, routes: [{ ...github, unattended: undefined }, tools] });
  assert.equal((await send(LIST)).status, 200);
  assertProblem(await send(CALL), 'ERR_SUBJECT_TOKEN_MISSING');
  assertProblem(await send(message('ping')), 'ERR_SUBJECT_TOKEN_MISSING');
  assert.deepEqual(grants(), ['client_credentials']);
});

test('takes a list without a handle with inbound, and tells the agent that a call lacks one', async (t) => {
  const { backend, app, authorizationServer } = await startInboundGateway(t, {
    route: { unattended: 'client_credentials' },
  });
  const send = (body: string, headers: Record<string, string> = {}) =>
    call(`${app.url}/github`, { body, headers: { 'content-type': 'application/json', ...headers } });
  assert.equal((await send(LIST)).status, 200);
  assert.equal(backend.requests.length, 1);
  const refused = await send(CALL);
  assert.equal(refused.status, 401);
  assert.match(refused.text, /ERR_SUBJECT_TOKEN_MISSING/);
  assert.match(refused.text, /This request has no handle/);
  assert.equal(JSON.parse(refused.text).id, 1);
  const raw = await send(LIST, { authorization: `Bearer ${await authorizationServer.mint()}` });
  assertProblem(raw, 'ERR_HANDLE_INVALID');
  assert.equal(backend.requests.length, 1);
});

for (const sdk of [SDK_V1, SDK_V2_NEGOTIATED]) {
  test(`${sdk.name}: connects and lists without a caller, and calls with one`, async (t) => {
    const server = await startFakeAuthorizationServer(t);
    const fixture = await startMcpBackend(t, { issuer: server.issuer, jwksUri: server.jwksUri });
    server.behaviour = ({ form }) => ({ kind: 'issue', ...(form.has('subject_token') ? {} : { subject: 'cambist' }) });
    const app = await startTestApp(t, {
      authorization_servers: { local: clientOf(server) },
      routes: [{ name: 'tools', match: { path: '/mcp' }, upstream: fixture.url, unattended: 'client_credentials' }],
    });
    let caller: string | undefined;
    const statuses: number[] = [];
    const asCaller: AgentFetch = async (target, init) => {
      const headers = new Headers(init?.headers);
      headers.delete('authorization');
      if (caller !== undefined) headers.set('authorization', `Bearer ${caller}`);
      const response = await fetch(target, { ...init, headers });
      statuses.push(response.status);
      return response;
    };
    const client = await sdk.connect(`${app.url}/mcp`, '', asCaller);
    t.after(() => client.close());
    assert.equal(client.sessionId() !== undefined, sdk.sessions);
    if (sdk.sessions) await eventually('the stream is refused', () => statuses.includes(405));
    const subjects = () => [...new Set(fixture.requests.map(({ claims }) => claims?.sub))];
    assert.ok((await client.listTools()).includes('echo'));
    const echo = () => client.call('echo', { message: 'hi' });
    await assert.rejects(echo(), /ERR_SUBJECT_TOKEN_MISSING|Unauthorized/);
    assert.deepEqual(subjects(), ['cambist']);
    caller = await server.mint({ subject: 'alice' });
    assert.equal(await echo(), 'hi');
    assert.deepEqual(subjects(), ['cambist', 'alice']);
    caller = undefined;
    await client.close();
    if (sdk.sessions) assert.equal(statuses.at(-1), 405);
  });
}
