import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import { get } from '../harness/disconnects.ts';
import { soon } from '../harness/eventually.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { assertProblem, call, connectRaw, sendRaw } from '../harness/http-call.ts';

const FORWARDED = METHODS.filter((method) => method !== 'CONNECT' && method !== 'TRACE');

test('forwards every method except CONNECT and TRACE on a route without methods', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  for (const method of FORWARDED) {
    assert.equal((await call(`${app.url}/plain`, { method })).status, 200, method);
  }
  assert.deepEqual(
    upstream.requests.map(({ method }) => method),
    FORWARDED,
  );
  const { text } = await call(`${app.url}/plain`, { method: 'PROPFIND', body: '<propfind/>' });
  assert.equal(JSON.parse(text).body, '<propfind/>');
});

test('returns 403 for TRACE, and for every other method without a route', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { route: { match: { path: '/plain', methods: ['PROPFIND'] } } });
  assertProblem(await call(`${app.url}/plain`, { method: 'TRACE' }), 'ERR_ROUTE_NOT_FOUND');
  assert.ok(app.logs.some(({ err }) => /TRACE/.test(JSON.stringify(err ?? ''))));
  for (const method of FORWARDED.filter((name) => name !== 'HEAD' && name !== 'PROPFIND')) {
    assertProblem(await call(`${app.url}/plain`, { method }), 'ERR_ROUTE_NOT_FOUND');
  }
  assert.equal(upstream.requests.length, 0);
  assert.equal((await call(`${app.url}/plain`, { method: 'PROPFIND' })).status, 200);
});

test('forwards headers that Fastify would interpret', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const headers = { 'accept-version': '7.x', 'accept-encoding': 'br', upgrade: 'h2c', connection: 'upgrade' };
  assert.equal((await call(`${app.url}/plain`, { headers })).status, 200);
  assert.equal(upstream.requests[0]?.headers['accept-version'], '7.x');
  assert.equal(upstream.requests[0]?.headers['accept-encoding'], 'br');
  assert.equal(upstream.requests[0]?.headers.upgrade, undefined);
});

test('prefers the configured host header to Host, and does not forward it', async (t) => {
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

test('returns 431 for headers that exceed limits.max_header_size, and keeps serving', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { top: { limits: { max_header_size: '4KiB' } } });
  assert.match(await sendRaw(app.url, get('/plain', `X: ${'x'.repeat(8000)}\r\n`)), /^HTTP\/1\.1 431 /);
  assert.equal(upstream.requests.length, 0);
  assert.equal((await call(`${app.url}/plain`)).status, 200);
});

test('forwards a request with an unusual but valid Host on a route for every host', async (t) => {
  const { app, authorization } = await startGateway(t);
  for (const host of ['', ':80', 'h:', 'my_service:8080', '[::1]:80', '%2Ftmp%2Fsocket', "a~!$&'()*+;=b", 'H.']) {
    const head = `GET /github HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\n`;
    assert.match(await sendRaw(app.url, `${head}Connection: close\r\n\r\n`), /^HTTP\/1\.1 200 /, host);
  }
});

test('serves other callers while some send their headers slowly', async (t) => {
  const { app } = await startPlainGateway(t);
  const slow = await Promise.all(Array.from({ length: 50 }, () => connectRaw(app.url)));
  for (const connection of slow) connection.send('POST /plain HTTP/1.1\r\nHost: localhost\r\nX-Slow: ');
  assert.equal((await soon('an ordinary request', call(`${app.url}/plain`))).status, 200);
  for (const connection of slow) connection.socket.destroy();
});

test('forwards a request with an unknown expectation, without the expectation', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const expecting = 'Expect: foo\r\nConnection: close\r\n';
  const all = await sendRaw(
    app.url,
    `POST /plain/x HTTP/1.1\r\nHost: localhost\r\n${expecting}Content-Length: 5\r\n\r\nhello`,
  );
  assert.match(all, /^HTTP\/1\.1 200 [\s\S]*"url":"\/mcp\/x"[\s\S]*"body":"hello"/);
  assert.equal(upstream.requests[0]?.headers.expect, undefined);
  const refusal = await sendRaw(app.url, get('/nowhere', expecting));
  assert.match(refusal, /^HTTP\/1\.1 403 [\s\S]*ERR_ROUTE_NOT_FOUND/);
});
