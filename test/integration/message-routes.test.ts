import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type AgentFetch, SDK_V2_NEGOTIATED } from '../harness/agent-client.ts';
import { startGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { startRefusingSetup } from '../harness/refusing-setup.ts';

/** One backend with three routes: `deleting` and `listening` have their own scopes, `github` takes all other requests. */
async function startTools(t: TestContext, keys: Record<string, unknown> = {}) {
  const gateway = await startGateway(t, { route: { scope: 'read' } });
  const [github] = gateway.config.routes;
  const match = { path: '/github', mcp_method: 'tools/call', mcp_name: ['delete_*', 'drop'] };
  const routes = [
    { ...github },
    { ...github, name: 'deleting', scope: 'delete', match, ...keys },
    { ...github, name: 'listening', scope: 'listen', match: { path: '/github', methods: ['GET'] } },
  ];
  gateway.app.reloadTo({ ...gateway.config, routes });
  const send = (body: string | Buffer, headers: Record<string, string> = {}) =>
    gateway.send({ 'content-type': 'application/json', ...headers }, body);
  const scopes = () => gateway.authorizationServer.sent('scope');
  /** Nothing was sent anywhere. */
  const assertUnsent = () => assert.deepEqual([gateway.upstream.requests.length, scopes()], [0, []]);
  return { ...gateway, send, scopes, assertUnsent };
}

const message = (method: string, params?: Record<string, unknown>) =>
  JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
const callOf = (name: string) => message('tools/call', { name, arguments: {} });

test('chooses the route, and so the scope, by the tool that a message calls', async (t) => {
  const { send, scopes, upstream, app } = await startTools(t);
  for (const body of [callOf('list'), callOf('delete_repo'), callOf('drop'), callOf('delete'), message('tools/list')]) {
    assert.equal((await send(body)).status, 200);
    assert.equal((await upstream.requests.at(-1)?.body())?.toString(), body);
  }
  assert.deepEqual(scopes(), ['read', 'delete']);
  const tokens = upstream.requests.map(({ authorization }) => authorization[0]);
  assert.deepEqual(tokens, [tokens[0], tokens[1], tokens[1], tokens[0], tokens[0]]);
  assert.equal(await app.metric('cambist_requests_total', { route: 'deleting', code: '200' }), 2);
  assert.equal(await app.metric('cambist_requests_total', { route: 'github', code: '200' }), 3);
});

test('chooses the route by the HTTP method, and treats a response to the server as no call', async (t) => {
  const { send, scopes, app, authorization } = await startTools(t);
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  assert.equal((await send('{"jsonrpc":"2.0","id":7,"result":{"method":"tools/call"}}')).status, 200);
  assert.deepEqual(scopes(), ['listen', 'read']);
});

test('forwards a body byte by byte, with a length and chunked', async (t) => {
  const { app, upstream, authorization } = await startTools(t);
  const body = Buffer.from(
    `  \n{ "method" :"tools/call",\t"params":{"name":"drop","x":"ä\\u00e4"}, "id" : 1.0e0 }\r\n`,
  );
  for (const framing of [{}, { 'transfer-encoding': 'chunked' }]) {
    assert.equal((await call(`${app.url}/github`, { body, headers: { authorization, ...framing } })).status, 200);
    assert.ok((await upstream.requests.at(-1)?.body())?.equals(body));
    assert.equal(upstream.requests.at(-1)?.headers['content-length'], String(body.length));
  }
});

test('refuses headers that do not match the message before any exchange, and accepts others', async (t) => {
  const { send, assertUnsent, upstream, app } = await startTools(t);
  for (const headers of [
    { 'mcp-method': 'tools/list' },
    { 'mcp-name': 'list' },
    { 'mcp-name': '=?base64?bGlzdA==?=' },
    { 'mcp-name': '' },
  ] as Record<string, string>[]) {
    assertProblem(await send(callOf('drop'), headers), 'ERR_HEADER_MISMATCH');
  }
  assertUnsent();
  assert.match(app.logText(), /Mcp-Name is not the name in the message/);
  const encoded = `=?base64?${Buffer.from('drop').toString('base64')}?=`;
  assert.equal((await send(callOf('drop'), { 'mcp-method': 'tools/call', 'mcp-name': encoded })).status, 200);
  assert.equal(upstream.requests[0]?.headers['mcp-name'], encoded);
});

test('refuses a request of revision 2026-07-28 without Mcp-Method or Mcp-Name, and no other request', async (t) => {
  const { send, scopes, upstream } = await startTools(t);
  const method = { 'mcp-method': 'tools/call' };
  for (const headers of [{}, method, { 'mcp-name': 'drop' }] as Record<string, string>[]) {
    const version = { 'mcp-protocol-version': '2026-07-28' };
    const refused = await send(callOf('drop'), { ...headers, ...version });
    assertProblem(refused, 'ERR_HEADER_MISMATCH');
    const { id, error } = JSON.parse(refused.text);
    assert.deepEqual([id, error.code], [1, -32020]);
    assert.equal((await send(callOf('drop'), { ...headers, 'mcp-protocol-version': '2025-11-25' })).status, 200);
  }
  assert.equal(upstream.requests.length, 3);
  const headers = { ...method, 'mcp-name': 'drop', 'mcp-protocol-version': '2026-07-28' };
  assert.equal((await send(callOf('drop'), headers)).status, 200);
  assert.deepEqual(scopes(), ['delete']);
});

test('the official client shows the error of MCP if a gateway removes its headers', async (t) => {
  const { url, server } = await startRefusingSetup(t);
  let removed = 'x-none';
  const gateway: AgentFetch = (target, init) => {
    const headers = new Headers(init?.headers);
    headers.delete(removed);
    return fetch(target, { ...init, headers });
  };
  const client = await SDK_V2_NEGOTIATED.connect(url, await server.mint(), gateway);
  t.after(() => client.close());
  const echo = () => client.call('echo', { message: 'hi' });
  await echo();
  for (const name of ['mcp-name', 'mcp-method']) {
    removed = name;
    await assert.rejects(echo(), { code: -32020, message: /^ERR_HEADER_MISMATCH: Mcp-Method or Mcp-Name is missing/ });
  }
});

test('refuses a body that the backend may read differently: batches, other encodings, ambiguous keys', async (t) => {
  const { send, assertUnsent, app } = await startTools(t);
  for (const [body, headers] of [
    [`[${callOf('list')}]`],
    ['name=drop'],
    ['{"method":"tools/call","params":{"name":"list"},"params":{"name":"drop"}}'],
    [callOf('list'), { 'content-encoding': 'gzip' }],
    [callOf('list'), { 'content-type': 'application/json; charset=utf-7' }],
    [callOf('list'), { 'content-type': 'application/json; charset="utf-16"' }],
    [Buffer.from(callOf('list'), 'utf16le')],
  ] as [string, Record<string, string>?][]) {
    assertProblem(await send(body, headers), 'ERR_ROUTE_NOT_FOUND');
  }
  for (const type of ['charset'.repeat(4000), `application/json; x="${'='.repeat(20_000)}"`]) {
    assertProblem(await send(callOf('list'), { 'content-type': type }), 'ERR_ROUTE_NOT_FOUND');
  }
  assertUnsent();
  assert.match(app.logText(), /is a batch[\s\S]*its Content-Type is too long/);
  for (const type of ['application/json; charset=UTF-8', `application/json; charset=utf-8; x="${'y'.repeat(200)}"`]) {
    assert.equal((await send(callOf('list'), { 'content-type': type })).status, 200);
  }
});

test('returns 413 for a message above the limit, with a length and chunked, and names the key to raise', async (t) => {
  const { app, send, assertUnsent } = await startTools(t, { retry_body_limit: '64KiB' });
  const sized = (bytes: number) => callOf('list').padEnd(bytes, ' ');
  for (const framing of [{}, { 'transfer-encoding': 'chunked' }] as Record<string, string>[]) {
    assertProblem(await send(sized(65_537), framing), 'ERR_MESSAGE_TOO_LARGE');
    assertProblem(await send(sized(16_000_000), framing), 'ERR_MESSAGE_TOO_LARGE');
  }
  assertUnsent();
  assert.match(app.logText(), /its body is larger than 65536 bytes: raise retry_body_limit/);
  const refused = { route: '_unmatched', code: '413', outcome: 'refused' };
  assert.equal(await app.metric('cambist_requests_total', refused), 4);
  assert.equal((await send(sized(65_536))).status, 200);
});

test('refuses every Content-Encoding but identity, also one padded with no-break spaces', async (t) => {
  const { send } = await startTools(t);
  // A buffer, because Node would encode headers that precede a string body as UTF-8.
  const body = Buffer.from(callOf('list'));
  for (const coding of ['gzip', 'identity, gzip', '\xa0identity', `${'\xa0'.repeat(20_000)}x`]) {
    assertProblem(await send(body, { 'content-encoding': coding }), 'ERR_ROUTE_NOT_FOUND');
  }
  for (const coding of ['', 'identity', 'Identity ']) {
    assert.equal((await send(body, { 'content-encoding': coding })).status, 200, coding);
  }
});

test('drops the tokens of every route of a session when the session is deleted', async (t) => {
  const { send, scopes, app, authorization } = await startTools(t);
  const session = { 'mcp-session-id': 's-1' };
  await send(callOf('list'), session);
  await send(callOf('drop'), session);
  await call(`${app.url}/github`, { method: 'DELETE', headers: { authorization, ...session } });
  assert.equal(await app.metric('cambist_cache_entries'), 0);
  await send(callOf('drop'), session);
  assert.deepEqual(scopes(), ['read', 'delete', 'delete']);
});
