import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import { soon } from '../harness/eventually.ts';
import { startPlainGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { assertProblem } from '../harness/problem.ts';

/** What MCP and its surroundings use, where this Node knows it. */
const ROUTED = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'].filter((method) =>
  METHODS.includes(method),
);

test('every method that a route may take passes', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  for (const method of ROUTED) {
    const { status } = await call(`${app.url}/plain`, { method });
    assert.equal(status, 200, method);
  }
  assert.deepEqual(
    upstream.requests.map(({ method }) => method),
    ROUTED,
  );
});

test('a method beside these has no route, and is refused as every such request is', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  for (const method of METHODS.filter((name) => !ROUTED.includes(name) && name !== 'CONNECT')) {
    assertProblem(await call(`${app.url}/plain`, { method }), 'ERR_ROUTE_NOT_FOUND');
  }
  for (const method of ROUTED.filter((name) => name !== 'HEAD')) {
    assertProblem(await call(`${app.url}/other`, { method }), 'ERR_ROUTE_NOT_FOUND');
  }
  assert.equal(upstream.requests.length, 0);
});

test('a path with odd characters and broken percent-encodings passes to the byte', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  for (const rest of [
    '/%',
    '/%zz/%0',
    '/%E2%82%ac%00',
    '/a%2Fb',
    '/"<>^`{|}',
    '/[x];y=1,2',
    '//double///',
    '?a=%&b=+#'.slice(0, -1),
  ]) {
    const { status } = await call(app.url, { path: `/plain${rest}` });
    assert.equal(status, 200, rest);
    assert.equal(upstream.requests.at(-1)?.url, `/mcp${rest}`);
  }
});

test('a long URL passes', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const path = `/plain?q=${'x'.repeat(16_000)}`;
  assert.equal((await call(app.url, { path })).status, 200);
  assert.equal(upstream.requests[0]?.url, path.replace('/plain', '/mcp'));
});

test('headers that Fastify would make something of are nothing to a proxy', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const headers = { 'accept-version': '7.x', 'accept-encoding': 'br', upgrade: 'h2c', connection: 'upgrade' };
  assert.equal((await call(`${app.url}/plain`, { headers })).status, 200);
  assert.equal(upstream.requests[0]?.headers['accept-version'], '7.x');
  assert.equal(upstream.requests[0]?.headers['accept-encoding'], 'br');
  assert.equal(upstream.requests[0]?.headers.upgrade, undefined);
});

test('an absolute-form target takes the route of its own host', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { route: { match: { host: 'docs-mcp.svc', path: '/mcp' } } });
  const { status } = await call(app.url, { path: 'http://Docs-MCP.svc:8080/mcp/x?y', headers: { host: 'other' } });
  assert.equal(status, 200);
  assert.equal(upstream.requests[0]?.url, '/mcp/x?y');
});

test('the host header of the config goes before Host, and stays here', async (t) => {
  const { app, upstream } = await startPlainGateway(t, {
    top: { host_header: 'x-kagent-host' },
    route: { match: { host: 'docs-mcp.svc', path: '/mcp' } },
  });
  const headers = { 'X-Kagent-Host': 'docs-mcp.svc' };
  assert.equal((await call(`${app.url}/mcp`, { headers })).status, 200);
  assert.equal(upstream.requests[0]?.headers['x-kagent-host'], undefined);
  assertProblem(
    await call(`${app.url}/mcp`, { headers: { host: 'docs-mcp.svc', ...headers, 'X-Kagent-Host': 'no' } }),
    'ERR_ROUTE_NOT_FOUND',
  );
});

test('headers that are too large are 431, bytes that are no HTTP are 400, and others are served on', async (t) => {
  const { app } = await startPlainGateway(t, { top: { limits: { max_header_size: '4KiB' } } });
  const large = await connectRaw(app.url);
  large.send(`GET /plain HTTP/1.1\r\nHost: h\r\nX: ${'x'.repeat(8000)}\r\n\r\n`);
  assert.match(await soon('the answer', large.closed()), /^HTTP\/1\.1 431 /);
  for (const bytes of [
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc',
    'GET / HTTP/9.9\r\n\r\n',
    'BREW / HTTP/1.1\r\n\r\n',
    'GET /\tx HTTP/1.1\r\n\r\n',
  ]) {
    const garbage = await connectRaw(app.url);
    garbage.send(bytes);
    assert.match(await soon('the answer', garbage.closed()), /^HTTP\/1\.1 400 /, JSON.stringify(bytes));
  }
  assert.equal((await call(`${app.url}/plain`)).status, 200);
});

test('a request that says its length in two ways never goes upstream', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  for (const headers of [
    'Content-Length: 5\r\nTransfer-Encoding: chunked',
    'Content-Length: 5\r\nContent-Length: 6',
    'Content-Length: +5',
    'Transfer-Encoding: chunked, identity',
  ]) {
    const connection = await connectRaw(app.url);
    connection.send(`POST /plain HTTP/1.1\r\nHost: h\r\n${headers}\r\n\r\n0\r\n\r\n`);
    assert.match(await soon('the answer', connection.closed()), /^HTTP\/1\.1 400 /, headers);
  }
  assert.equal(upstream.requests.length, 0);
});

test('callers that send their headers slowly keep nobody waiting', async (t) => {
  const { app } = await startPlainGateway(t);
  const slow = await Promise.all(Array.from({ length: 50 }, () => connectRaw(app.url)));
  for (const connection of slow) connection.send('POST /plain HTTP/1.1\r\nHost: h\r\nX-Slow: ');
  assert.equal((await soon('an ordinary request', call(`${app.url}/plain`))).status, 200);
  for (const connection of slow) connection.socket.destroy();
});

test('an expectation that is unknown here does not keep a request from its route', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const connection = await connectRaw(app.url);
  connection.send(
    'POST /plain/x HTTP/1.1\r\nHost: h\r\nExpect: foo\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello',
  );
  const all = await soon('the answer', connection.closed());
  assert.match(all, /^HTTP\/1\.1 200 [\s\S]*"url":"\/mcp\/x"[\s\S]*"body":"hello"/);
  assert.equal(upstream.requests[0]?.headers.expect, undefined);
  const unrouted = await connectRaw(app.url);
  unrouted.send('GET /nowhere HTTP/1.1\r\nHost: h\r\nExpect: foo\r\nConnection: close\r\n\r\n');
  assert.match(await soon('the refusal', unrouted.closed()), /^HTTP\/1\.1 403 [\s\S]*ERR_ROUTE_NOT_FOUND/);
});
