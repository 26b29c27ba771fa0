import assert from 'node:assert/strict';
import type { Http2ServerResponse } from 'node:http2';
import { buffer } from 'node:stream/consumers';
import { test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { call, connectRaw, open } from '../harness/http-call.ts';
import { authority, mirror, startHttp2Gateway } from '../harness/http2-gateway.ts';
import { assertProblem } from '../harness/problem.ts';
import { echo } from '../harness/upstream-handlers.ts';

test('uses HTTP/2 with an upstream that offers it, and forwards headers and body as over HTTP/1.1', async (t) => {
  const { app, authorization, authorizationServer, state } = await startHttp2Gateway(t);
  const headers = [
    ...['Authorization', authorization, 'X-Tag', 'a', 'x-tag', 'b', 'Cookie', 'a=1', 'cookie', 'b=2'],
    ...[
      'Content-Type',
      'application/json',
      'content-type',
      'text/plain',
      'TE',
      'trailers',
      'Connection',
      'close, x-hop',
    ],
    ...['X-Hop', '1', 'Content-Length', '5', 'Constructor', 'c', '__proto__', 'p'],
  ];
  const { status, text } = await call(`${app.url}/github/x?y`, { method: 'POST', headers, body: 'hello' });
  assert.equal(status, 200);
  const received = JSON.parse(text);
  assert.deepEqual([received.version, received.body], ['2.0', 'hello']);
  assert.equal(received.headers[':path'], '/mcp/x?y');
  assert.equal(
    received.headers[':authority'],
    `localhost:${new URL(`https://${received.headers[':authority']}`).port}`,
  );
  assert.equal(received.headers.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
  assert.equal(received.headers['x-tag'], 'a, b');
  assert.equal(received.headers.cookie, 'a=1; b=2');
  assert.equal(received.headers['x-hop'], undefined);
  assert.equal(received.headers.constructor, 'c');
  assert.ok(text.includes('"__proto__":"p"'), text);
  assert.equal(state.requests.length, 1);
});

test('uses HTTP/1.1 on a route without http2, also with an upstream that offers both', async (t) => {
  const { app, authorization } = await startHttp2Gateway(t, mirror, {});
  const { text } = await call(`${app.url}/github`, { headers: { authorization } });
  assert.equal(JSON.parse(text).version, '1.1');
});

test('uses HTTP/1.1 with an upstream that does not offer HTTP/2', async (t) => {
  const { ca, app, authorization, config } = await startHttp2Gateway(t);
  const http1 = await startFakeUpstream(echo, { tls: authority.issueServer() });
  t.after(http1.close);
  const tls = { ca: { file: ca } };
  app.reloadTo({ ...config, routes: config.routes.map((route) => ({ ...route, upstream: http1.url, tls })) });
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  assert.equal(http1.requests[0]?.message.httpVersion, '1.1');
});

test('relays a stream event by event, and closes it upstream when the caller disconnects', async (t) => {
  let stream: Http2ServerResponse | undefined;
  const { app, authorization, state } = await startHttp2Gateway(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: 1\n\n');
    stream = response;
  });
  const response = await soon('the response headers', open(`${app.url}/github`, { headers: { authorization } }));
  assert.equal(response.headers['content-type'], 'text/event-stream');
  const next = () =>
    soon('an event', new Promise((resolve) => response.once('data', (chunk) => resolve(String(chunk)))));
  assert.equal(await next(), 'data: 1\n\n');
  const second = next();
  stream?.write('data: 2\n\n');
  assert.equal(await second, 'data: 2\n\n');
  const gone = new Promise((resolve) => state.requests[0]?.once('close', resolve));
  response.destroy();
  await soon('the upstream sees the stream close', gone);
});

test('returns the right response to each of many concurrent requests', async (t) => {
  const { app, authorization } = await startHttp2Gateway(t);
  const responses = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      call(
        `${app.url}/github`,
        index % 2 === 0 ? { headers: { authorization }, body: `${index}` } : { headers: { authorization } },
      ),
    ),
  );
  for (const [index, { status, text }] of responses.entries()) {
    assert.equal(status, 200);
    assert.equal(JSON.parse(text).body, index % 2 === 0 ? `${index}` : '');
  }
});

test('passes large bodies in both directions, with a length and chunked', async (t) => {
  const { app, authorization } = await startHttp2Gateway(t, async (request, response) =>
    response.end(await buffer(request)),
  );
  const body = Buffer.alloc(5_000_000, 'x');
  for (const framing of [{}, { 'transfer-encoding': 'chunked' }]) {
    const response = await soon(
      'the response',
      call(`${app.url}/github`, { headers: { authorization, ...framing }, body }),
    );
    assert.ok(response.body.equals(body));
  }
});

test('exchanges again after a 401', async (t) => {
  const { app, authorization, authorizationServer, state } = await startHttp2Gateway(t);
  state.handler = (request, response) => {
    if (request.headers.authorization !== `Bearer ${authorizationServer.requests[0]?.issued}`)
      return mirror(request, response);
    response.writeHead(401);
    return response.end('no');
  };
  assert.equal((await call(`${app.url}/github`, { headers: { authorization }, body: 'x' })).status, 200);
  assert.deepEqual([state.requests.length, authorizationServer.requests.length], [2, 2]);
});

for (const [event, breakOff] of [
  ['the stream is reset', (response: Http2ServerResponse) => response.stream.close(2)],
  ['the session is destroyed', (response: Http2ServerResponse) => response.stream.session?.destroy()],
  ['the connection ends', (_response: Http2ServerResponse, state: { cut(): void }) => state.cut()],
] as const) {
  test(`never completes a response when ${event} in the middle of it`, async (t) => {
    const { app, authorization, state } = await startHttp2Gateway(t);
    state.handler = (_request, response) => {
      response.writeHead(200);
      response.write('half of it', () => setTimeout(() => breakOff(response, state), 50));
    };
    const connection = await connectRaw(app.url);
    connection.send(`GET /github HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n\r\n`);
    const all = await soon('the connection ends', connection.closed());
    assert.match(all, /half of it/);
    assert.doesNotMatch(all, /0\r\n\r\n$/);
  });

  test(`does not retry a request when ${event} before the response`, async (t) => {
    const { app, authorization, state } = await startHttp2Gateway(t);
    state.handler = (_request, response) => {
      setTimeout(() => breakOff(response, state), 50);
    };
    assertProblem(
      await soon('the response', call(`${app.url}/github`, { headers: { authorization }, body: 'x' })),
      'ERR_UPSTREAM_UNREACHABLE',
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(state.requests.length, 1);
    state.handler = mirror;
    assert.equal(
      (await soon('the second response', call(`${app.url}/github`, { headers: { authorization } }))).status,
      200,
    );
  });
}

test('reconnects to an upstream that closes its session after each response', async (t) => {
  const { app, authorization, state } = await startHttp2Gateway(t);
  for (let i = 0; i < 3; i += 1) {
    assert.equal(
      (await soon('the response', call(`${app.url}/github`, { headers: { authorization }, body: 'x' }))).status,
      200,
    );
    for (const session of state.sessions) session.close();
    await eventually('the session is closed', () => state.sessions.size === 0);
  }
});
