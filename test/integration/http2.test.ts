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

test('HTTP/2 is spoken to an upstream that offers it, with the bearer and everything else as over HTTP/1.1', async (t) => {
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

test('a route that does not ask for it gets HTTP/1.1, also from an upstream that has both', async (t) => {
  const { app, authorization } = await startHttp2Gateway(t, mirror, {});
  const { text } = await call(`${app.url}/github`, { headers: { authorization } });
  assert.equal(JSON.parse(text).version, '1.1');
});

test('an upstream without HTTP/2 is spoken to in HTTP/1.1', async (t) => {
  const { ca, app, authorization, config } = await startHttp2Gateway(t);
  const old = await startFakeUpstream(echo, { tls: authority.issueServer() });
  t.after(old.close);
  const tls = { ca: { file: ca } };
  app.reloadTo({ ...config, routes: config.routes.map((route) => ({ ...route, upstream: old.url, tls })) });
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  assert.equal(old.requests[0]?.message.httpVersion, '1.1');
});

test('a stream of events comes event by event, and its end on the side of the caller ends it upstream', async (t) => {
  let stream: Http2ServerResponse | undefined;
  const { app, authorization, state } = await startHttp2Gateway(t, (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: 1\n\n');
    stream = response;
  });
  const answer = await soon('the head', open(`${app.url}/github`, { headers: { authorization } }));
  assert.equal(answer.headers['content-type'], 'text/event-stream');
  const next = () => soon('an event', new Promise((resolve) => answer.once('data', (chunk) => resolve(String(chunk)))));
  assert.equal(await next(), 'data: 1\n\n');
  const second = next();
  stream?.write('data: 2\n\n');
  assert.equal(await second, 'data: 2\n\n');
  const gone = new Promise((resolve) => state.requests[0]?.once('close', resolve));
  answer.destroy();
  await soon('the end upstream', gone);
});

test('requests at once all get their own answers', async (t) => {
  const { app, authorization } = await startHttp2Gateway(t);
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      call(
        `${app.url}/github`,
        index % 2 === 0 ? { headers: { authorization }, body: `${index}` } : { headers: { authorization } },
      ),
    ),
  );
  for (const [index, { status, text }] of answers.entries()) {
    assert.equal(status, 200);
    assert.equal(JSON.parse(text).body, index % 2 === 0 ? `${index}` : '');
  }
});

test('a large body and one without a length pass both ways, no faster than they are read', async (t) => {
  const { app, authorization } = await startHttp2Gateway(t, async (request, response) =>
    response.end(await buffer(request)),
  );
  const body = Buffer.alloc(5_000_000, 'x');
  for (const framing of [{}, { 'transfer-encoding': 'chunked' }]) {
    const answered = await soon(
      'the answer',
      call(`${app.url}/github`, { headers: { authorization, ...framing }, body }),
    );
    assert.ok(answered.body.equals(body));
  }
});

test('a 401 leads to one new exchange over HTTP/2, too', async (t) => {
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

for (const [how, breakOff] of [
  ['its stream is reset', (response: Http2ServerResponse) => response.stream.close(2)],
  ['its session is given up', (response: Http2ServerResponse) => response.stream.session?.destroy()],
  ['its connection ends', (_response: Http2ServerResponse, state: { cut(): void }) => state.cut()],
] as const) {
  test(`an answer that breaks off because ${how} is broken to the caller, never one that looks whole`, async (t) => {
    const { app, authorization, state } = await startHttp2Gateway(t);
    state.handler = (_request, response) => {
      response.writeHead(200);
      response.write('half of it', () => setTimeout(() => breakOff(response, state), 50));
    };
    const connection = await connectRaw(app.url);
    connection.send(`GET /github HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n\r\n`);
    const all = await soon('the end', connection.closed());
    assert.match(all, /half of it/);
    assert.doesNotMatch(all, /0\r\n\r\n$/);
  });

  test(`a request is not sent twice because ${how} before there is an answer`, async (t) => {
    const { app, authorization, state } = await startHttp2Gateway(t);
    state.handler = (_request, response) => {
      setTimeout(() => breakOff(response, state), 50);
    };
    assertProblem(
      await soon('the answer', call(`${app.url}/github`, { headers: { authorization }, body: 'x' })),
      'ERR_UPSTREAM_UNREACHABLE',
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(state.requests.length, 1);
    state.handler = mirror;
    assert.equal((await soon('the next', call(`${app.url}/github`, { headers: { authorization } }))).status, 200);
  });
}

test('an upstream that sends its callers away in order is connected to anew', async (t) => {
  const { app, authorization, state } = await startHttp2Gateway(t);
  for (let i = 0; i < 3; i += 1) {
    assert.equal(
      (await soon('the answer', call(`${app.url}/github`, { headers: { authorization }, body: 'x' }))).status,
      200,
    );
    for (const session of state.sessions) session.close();
    await eventually('the session is closed', () => state.sessions.size === 0);
  }
});
