import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { assertProblem } from '../harness/problem.ts';

const MCP = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
const CALL = JSON.stringify({ jsonrpc: '2.0', id: 'call-7', method: 'tools/call', params: { name: 'list' } });

test('responds to an MCP POST with a JSON-RPC error that has the id of the request', async (t) => {
  const { app, authorization, authorizationServer, upstream } = await startGateway(t);
  const post = (headers: Record<string, string>, body = CALL) =>
    call(`${app.url}/github`, { method: 'POST', headers: { ...MCP, ...headers }, body });

  const missing = await post({});
  assertProblem(missing, 'ERR_SUBJECT_TOKEN_MISSING');
  assert.equal(missing.headers['www-authenticate'], 'Bearer realm="cambist"');
  const { jsonrpc, id, error } = JSON.parse(missing.text);
  assert.deepEqual([jsonrpc, id, error.code, error.data.status], ['2.0', 'call-7', -32010, 401]);
  assert.match(error.message, /^ERR_SUBJECT_TOKEN_MISSING: This route/);

  const chunked = await post({ 'transfer-encoding': 'chunked' });
  assert.equal(JSON.parse(chunked.text).id, 'call-7');

  const unmatched = await call(`${app.url}/elsewhere`, { method: 'POST', headers: MCP, body: CALL });
  assertProblem(unmatched, 'ERR_ROUTE_NOT_FOUND');
  assert.equal(JSON.parse(unmatched.text).id, 'call-7');

  authorizationServer.queue.push({ kind: 'response', status: 400, body: { error: 'invalid_target' } });
  const refused = await post({ authorization });
  assertProblem(refused, 'ERR_EXCHANGE_REFUSED');
  assert.equal(JSON.parse(refused.text).id, 'call-7');

  await upstream.close();
  const unreachable = await post({ authorization: `Bearer ${await authorizationServer.mint()}` });
  assertProblem(unreachable, 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(JSON.parse(unreachable.text).id, 'call-7');
});

test('finds the id in a message that decides the route', async (t) => {
  const { app, authorization } = await startGateway(t, {
    route: { match: { path: '/github', mcp_method: 'tools/call' } },
  });
  const post = (body: string) =>
    call(`${app.url}/github`, { headers: { authorization, 'content-type': 'application/json' }, body });
  const noRoute = await post('{"jsonrpc":"2.0","id":3,"method":"ping"}');
  assertProblem(noRoute, 'ERR_ROUTE_NOT_FOUND');
  const ambiguous = await post('{"jsonrpc":"2.0","id":4,"method":"ping","METHOD":"tools/call"}');
  assertProblem(ambiguous, 'ERR_ROUTE_NOT_FOUND');
  assert.deepEqual([JSON.parse(noRoute.text).id, JSON.parse(ambiguous.text).id], [3, 4]);
});

test('omits the id for a notification, and has a null id for a batch and a body that is late', async (t) => {
  const { app } = await startGateway(t);
  const post = async (body: string) => {
    const response = await call(`${app.url}/github`, { method: 'POST', headers: MCP, body });
    assertProblem(response, 'ERR_SUBJECT_TOKEN_MISSING');
    return JSON.parse(response.text);
  };
  assert.ok(!('id' in (await post('{"jsonrpc":"2.0","method":"notifications/initialized"}'))));
  assert.equal((await post(`[${CALL}]`)).id, null);

  const connection = await connectRaw(app.url);
  t.after(() => connection.socket.destroy());
  const headers = Object.entries({ host: 'a', ...MCP, 'content-length': '100' });
  connection.send(`POST /elsewhere HTTP/1.1\r\n${headers.map(([n, v]) => `${n}: ${v}\r\n`).join('')}\r\n{"id":5`);
  const text = await connection.until('"request_id"');
  assert.match(text, /^HTTP\/1\.1 403 /);
  assert.match(text, /\{"jsonrpc":"2\.0","id":null,"error":/);
});

test('logs and counts such an error once, with its status', async (t) => {
  const { app } = await startGateway(t);
  await call(`${app.url}/github`, { method: 'POST', headers: MCP, body: CALL });
  const lines = app.logs.filter(({ msg }) => msg === 'request');
  assert.deepEqual(
    lines.map(({ status, error }) => [status, error]),
    [[401, 'ERR_SUBJECT_TOKEN_MISSING']],
  );
  assert.ok(!app.logText().includes('call-7'));
});

test('keeps problem documents for every other request', async (t) => {
  const { app } = await startGateway(t);
  for (const headers of [{ 'content-type': 'application/json' }, { accept: MCP.accept }]) {
    const response = await call(`${app.url}/github`, { method: 'POST', headers, body: CALL });
    assertProblem(response, 'ERR_SUBJECT_TOKEN_MISSING');
    assert.equal(response.headers['content-type'], 'application/problem+json');
  }
});
