import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { assertAllFinished, FLOOD_BYTES, flood, get, post } from '../harness/disconnects.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { neverRespond, respond, startRawUpstream } from '../harness/fake-upstream.ts';
import { startPlainGateway } from '../harness/gateway.ts';
import { assertProblem, call, connectRaw } from '../harness/http-call.ts';
import { temporaryFolder } from '../harness/lifetime.ts';

/** An app with an upstream that responds to every request with these bytes, then closes the connection. */
async function startRaw(t: TestContext, bytes: string, listen = '127.0.0.1:0') {
  const upstream = await startRawUpstream(t, bytes, 'end');
  const routes = [{ name: 'raw', match: { path: '/' }, upstream: upstream.url, credential: 'none' }];
  return startTestApp(t, { listen, routes });
}

test('returns ERR_UPSTREAM_UNREACHABLE when the name of the backend does not resolve', async (t) => {
  const { app } = await startPlainGateway(t, { route: { upstream: 'http://no-such-name.internal/mcp' } });
  assertProblem(await call(`${app.url}/plain`), 'ERR_UPSTREAM_UNREACHABLE');
});

test('returns a timeout when the backend sends no headers in time, and closes the connection', async (t) => {
  const { app, upstream } = await startPlainGateway(t, {
    handler: neverRespond,
    route: { timeouts: { response_headers: '300ms' } },
  });
  assertProblem(await soon('the response', call(`${app.url}/plain`, { body: '{}' })), 'ERR_UPSTREAM_TIMEOUT');
  await upstream.requests[0]?.gone;
});

test('relays a body that ends with its connection', async (t) => {
  for (const version of ['1.0', '1.1']) {
    const app = await startRaw(t, `HTTP/${version} 200 OK\r\nX-Old: yes\r\n\r\nuntil the end`);
    const { status, text, headers } = await call(`${app.url}/`);
    assert.deepEqual([status, text, headers['x-old']], [200, 'until the end', 'yes']);
  }
});

test('closes the connection of an HTTP/1.0 caller when a response breaks off, by a reset where it can, and counts it', async (t) => {
  const folder = temporaryFolder(t);
  for (const [listen, code] of [
    ['127.0.0.1:0', 'ECONNRESET'],
    [`unix:${join(folder, 'proxy.sock')}`, undefined],
  ] as const) {
    const app = await startRaw(t, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', listen);
    // The app still runs after the first.
    for (let i = 0; i < 2; i += 1) {
      const connection = await connectRaw(app.url);
      let error: NodeJS.ErrnoException | undefined;
      connection.socket.once('error', (cause) => {
        error = cause;
      });
      connection.send('GET / HTTP/1.0\r\n\r\n');
      await soon('the connection is closed', connection.closed());
      assert.equal(error?.code, code);
    }
    await app.metricBecomes('cambist_requests_aborted_total', 2, { aborted_by: 'upstream' });
  }
});

test('relays a 503 without a retry', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: respond(503, 'later', { 'retry-after': '0' }) });
  for (const method of ['GET', 'HEAD', 'POST']) {
    upstream.requests.length = 0;
    const { status, headers } = await call(`${app.url}/plain`, { method });
    assert.deepEqual([status, headers['retry-after']], [503, '0']);
    assert.equal(upstream.requests.length, 1, method);
  }
});

test('relays any status, follows no redirect, and counts each response once', async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const statuses = [200, 207, 299, 301, 302, 303, 307, 308, 400, 403, 404, 405, 418, 429, 500, 502, 504, 599, 600, 999];
  for (const status of statuses) {
    upstream.handler = respond(status, 'body', { location: `${upstream.url}/elsewhere` });
    const response = await call(`${app.url}/plain`);
    assert.deepEqual([response.status, response.text], [status, 'body']);
  }
  assert.equal(upstream.requests.length, statuses.length);
  await app.metricBecomes('cambist_requests_total', statuses.length, { route: 'plain' });
});

const ROUTE = { timeouts: { stall: '1s' } };

/** An upload that the backend does not read. `onRequest` sends its response. */
async function startStalled(t: TestContext, onRequest: (response: ServerResponse) => void = () => {}) {
  const { app, upstream } = await startPlainGateway(t, {
    handler({ message }, response) {
      message.pause();
      onRequest(response);
    },
    route: ROUTE,
  });
  const connection = await connectRaw(app.url);
  connection.send(post('/plain', 2 * FLOOD_BYTES));
  await flood(connection);
  return { app, upstream, connection };
}

test('returns 504 for an upload that stalls, and closes its request upstream', async (t) => {
  const { app, upstream, connection } = await startStalled(t);
  const response = await soon('the response', connection.until('"code":"ERR_UPSTREAM_TIMEOUT"'));
  assert.match(response, /^HTTP\/1\.1 504 /);
  const [request] = upstream.requests;
  request?.message.resume();
  await soon('the backend sees the request close', request?.gone ?? assert.fail());
  assert.match(app.logText(), /route \\"plain\\": no byte moved for timeouts\.stall, which is 1s, /);
  await assertAllFinished(app);
});

test('aborts a response that stalls together with its upload, and reports aborted_by "stall"', async (t) => {
  const { app, connection } = await startStalled(t, (response) => void response.write('started'));
  await soon('the connection is closed', connection.closed());
  const [line] = await app.logged('request');
  assert.equal(line?.aborted_by, 'stall');
  assert.equal(await app.metric('cambist_requests_aborted_total', { aborted_by: 'stall' }), 1);
  await assertAllFinished(app);
});

test('keeps a stalled upload open while its response continues', async (t) => {
  const { app, upstream, connection } = await startStalled(t, (response) => {
    const timer = setInterval(() => response.write('beat\n'), 200);
    response.once('close', () => clearInterval(timer));
  });
  await connection.until(/(beat\s[^b]*){15}/);
  assert.equal(upstream.requests.length, 1);
  connection.socket.destroy();
  await assertAllFinished(app);
});

test('keeps a silent response open', async (t) => {
  const { app } = await startPlainGateway(t, {
    async handler({ body }, response) {
      await body();
      setTimeout(() => response.end('late'), 2500);
    },
    route: ROUTE,
  });
  const { status, text } = await call(`${app.url}/plain`, { body: Buffer.alloc(1024 * 1024) });
  assert.deepEqual([status, text], [200, 'late']);
});

test('closes a connection with too many pipelined requests', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: () => {} });
  const connection = await connectRaw(app.url);
  connection.send(get('/plain').repeat(17));
  await eventually('the upstream has the allowed requests', () => upstream.requests.length === 17);
  connection.send(get('/plain'));
  await soon('the connection is closed', connection.closed());
  await soon('the upstream sees every request close', Promise.all(upstream.requests.map(({ gone }) => gone)));
  assert.match(app.logText(), /more than 16 pipelined requests/);
  await assertAllFinished(app);
});
