import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { startRawUpstream } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { assertProblem } from '../harness/problem.ts';
import { answer, dieMidStream, silence } from '../harness/upstream-handlers.ts';

/** cambist before an upstream that answers every request with these bytes and closes. */
async function startRaw(t: TestContext, bytes: string, afterwards: 'end' | 'reset' = 'end') {
  const upstream = await startRawUpstream(bytes, afterwards);
  t.after(upstream.close);
  const routes = [{ name: 'raw', match: { path: '/' }, upstream: upstream.url, credential: 'none' }];
  return { app: await startTestApp(t, { routes }), upstream };
}

test('a backend that nobody listens for is unreachable', async (t) => {
  const { app } = await startPlainGateway(t, { route: { upstream: 'http://127.0.0.1:1/mcp' } });
  const answered = await call(`${app.url}/plain`);
  assertProblem(answered, 'ERR_UPSTREAM_UNREACHABLE');
  assert.ok(!answered.text.includes('127.0.0.1'));
});

test('a backend whose name does not resolve is unreachable', async (t) => {
  const { app } = await startPlainGateway(t, { route: { upstream: 'http://no-such-name.internal/mcp' } });
  assertProblem(await call(`${app.url}/plain`), 'ERR_UPSTREAM_UNREACHABLE');
});

test('a backend that closes or breaks the connection without an answer is unreachable', async (t) => {
  for (const afterwards of ['end', 'reset'] as const) {
    const { app } = await startRaw(t, '', afterwards);
    assertProblem(await call(`${app.url}/`, { body: '{}' }), 'ERR_UPSTREAM_UNREACHABLE');
  }
});

test('a backend that sends no headers in time is too slow, and sees the connection close', async (t) => {
  const { app, upstream } = await startPlainGateway(t, {
    handler: silence,
    route: { timeouts: { response_headers: '300ms' } },
  });
  assertProblem(await soon('the answer', call(`${app.url}/plain`, { body: '{}' })), 'ERR_UPSTREAM_TIMEOUT');
  await upstream.requests[0]?.gone;
});

test('a backend that cannot be connected to in time is unreachable', { timeout: 20_000 }, async (t) => {
  // A documentation address (RFC 5737), which nobody answers for, or which a machine without a network refuses at once.
  const { app } = await startPlainGateway(t, {
    route: { upstream: 'http://192.0.2.1:9/mcp', allow_insecure_http: true, timeouts: { connect: '200ms' } },
  });
  assertProblem(await call(`${app.url}/plain`), 'ERR_UPSTREAM_UNREACHABLE');
});

test('an answer that is no HTTP, or contradicts itself, never reaches the caller', async (t) => {
  for (const bytes of [
    'this is no HTTP\r\n\r\n',
    'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi',
    'HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nhi',
    'RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nhi',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX Odd: a\r\n\r\nhi',
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Odd: a\x01b\r\n\r\nhi',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\nhi',
    `HTTP/1.1 200 OK\r\nX-Long: ${'x'.repeat(70_000)}\r\nContent-Length: 2\r\n\r\nhi`,
  ]) {
    const { app } = await startRaw(t, bytes);
    assertProblem(await call(`${app.url}/`), 'ERR_UPSTREAM_UNREACHABLE');
  }
});

test('an early hint is dropped, and the answer after it passes', async (t) => {
  const hint = 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n';
  const { app } = await startRaw(t, `${hint}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi`);
  const { status, text, headers } = await call(`${app.url}/`);
  assert.deepEqual([status, text, headers.link], [200, 'hi', undefined]);
});

test('a body that ends with its connection passes', async (t) => {
  for (const version of ['1.0', '1.1']) {
    const { app } = await startRaw(t, `HTTP/${version} 200 OK\r\nX-Old: yes\r\n\r\nuntil the end`);
    const { status, text, headers } = await call(`${app.url}/`);
    assert.deepEqual([status, text, headers['x-old']], [200, 'until the end', 'yes']);
  }
});

test('an upstream that dies in the middle of its body is a broken answer to the caller, never one that looks whole', async (t) => {
  const { app } = await startPlainGateway(t, { handler: dieMidStream(1000, 100) });
  await assert.rejects(call(`${app.url}/plain`), { code: 'ECONNRESET' });
  for (const bytes of [
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n',
  ]) {
    const raw = await startRaw(t, bytes);
    const connection = await connectRaw(raw.app.url);
    connection.send('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
    assert.doesNotMatch(await soon('the connection ends', connection.closed()), /0\r\n\r\n$/);
  }
});

test('to a caller of HTTP/1.0, for whom the end of the connection ends the body, a broken answer is a reset', async (t) => {
  const { app } = await startRaw(t, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  const connection = await connectRaw(app.url);
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => connection.socket.once('error', resolve));
  const ended = new Promise<undefined>((resolve) => connection.socket.once('end', () => resolve(undefined)));
  connection.send('GET / HTTP/1.0\r\n\r\n');
  assert.equal((await Promise.race([failed, ended]))?.code, 'ECONNRESET');
});

test('a 503 is passed on, and asked for once only', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: answer(503, 'later', { 'retry-after': '0' }) });
  for (const method of ['GET', 'HEAD', 'POST']) {
    upstream.requests.length = 0;
    const { status, headers } = await call(`${app.url}/plain`, { method });
    assert.deepEqual([status, headers['retry-after']], [503, '0']);
    assert.equal(upstream.requests.length, 1, method);
  }
});

test('a redirect is passed on and not followed', async (t) => {
  const { app, upstream, authorization } = await startGateway(t);
  for (const status of [301, 302, 303, 307, 308]) {
    upstream.requests.length = 0;
    upstream.handler = answer(status, '', { location: `${upstream.url}/elsewhere` });
    const answered = await call(`${app.url}/github`, { headers: { authorization } });
    assert.equal(answered.status, status);
    assert.equal(upstream.requests.length, 1);
  }
});

for (const [what, statuses] of [
  ['every status that HTTP knows', [200, 207, 299, 400, 403, 404, 405, 418, 429, 500, 502, 504, 599]],
  ['a status beyond those that HTTP knows', [600, 999]],
] as const) {
  test(`${what} is passed on, and counted once`, async (t) => {
    const { app, upstream } = await startPlainGateway(t);
    for (const status of statuses) {
      upstream.handler = answer(status, 'body');
      const answered = await call(`${app.url}/plain`);
      assert.deepEqual([answered.status, answered.text], [status, 'body']);
    }
    const counted = async () => sumSamples(await app.metrics(), 'cambist_requests_total', { route: 'plain' });
    await eventually('all are counted', async () => (await counted()) === statuses.length);
  });
}
