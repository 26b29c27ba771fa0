import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { constants, type Http2ServerResponse } from 'node:http2';
import { test } from 'node:test';
import { createServer } from 'node:tls';
import { Http1Dispatcher } from '../../src/transport/http1/dispatcher.ts';
import { Http2Dispatcher } from '../../src/transport/http2/dispatcher.ts';
import { startTestApp } from '../harness/app.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { startFakeUpstream, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { call, connectRaw, open } from '../harness/http-call.ts';
import { closeServer, listen } from '../harness/http-server.ts';
import { authority, authorityFile, mirror, startHttp2Gateway } from '../harness/http2-gateway.ts';
import { assertProblem } from '../harness/problem.ts';
import { startRawHttp2 } from '../harness/raw-http2.ts';
import { echo } from '../harness/upstream-handlers.ts';

const PLAIN = { http2: true, credential: 'none' };

/** Starts each response, and leaves it open until the test ends it. */
function heldOpen() {
  const held: Http2ServerResponse[] = [];
  const handler = (_request: unknown, response: Http2ServerResponse): void => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: 1\n\n');
    held.push(response);
  };
  return { held, handler };
}

for (const [how, closeSession] of [
  ['sends a GOAWAY', (response: Http2ServerResponse) => response.stream.session?.goaway(0)],
  ['closes the session gracefully', (response: Http2ServerResponse) => response.stream.session?.close()],
] as const) {
  test(`completes a response in flight when the upstream ${how}, and opens another connection`, async (t) => {
    const { held, handler } = heldOpen();
    const { app, state } = await startHttp2Gateway(t, handler, PLAIN);
    const streaming = call(`${app.url}/github`);
    await eventually('the request is in flight', () => held.length === 1);
    closeSession(held[0] as Http2ServerResponse);
    await new Promise((resolve) => setTimeout(resolve, 50));
    state.handler = mirror;
    assert.equal((await soon('the second response', call(`${app.url}/github`))).status, 200);
    assert.equal(state.connections, 2);
    held[0]?.end('data: 2\n\n');
    assert.equal((await soon('the first response', streaming)).text, 'data: 1\n\ndata: 2\n\n');
  });
}

test('shares a connection for as many requests as the upstream allows, then opens another', async (t) => {
  const { held, handler } = heldOpen();
  const { app, state } = await startHttp2Gateway(t, handler, PLAIN, { settings: { maxConcurrentStreams: 4 } });
  const responses = await Promise.all(
    Array.from({ length: 10 }, () => soon('the response headers', open(`${app.url}/github`))),
  );
  assert.deepEqual([held.length, state.connections], [10, 3]);
  for (const response of held) response.end();
  for (const response of responses) response.resume();
});

test('sends no request upstream when the caller disconnects while the connection opens', async (t) => {
  const { handler } = heldOpen();
  const { app, state } = await startHttp2Gateway(t, handler, PLAIN, {
    SNICallback: (_name: string, done: (error: null) => void) => void setTimeout(() => done(null), 200),
  });
  const connection = await connectRaw(app.url);
  connection.send('GET /github HTTP/1.1\r\nHost: h\r\n\r\n');
  await new Promise((resolve) => setTimeout(resolve, 50));
  connection.socket.destroy();
  await eventually('the request is logged', () => app.logs.some(({ outcome }) => outcome === 'cancelled'));
  await eventually('the connection is open', () => state.connections === 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(state.requests.length, 0);
});

test('serves a request after many requests were aborted before the connection opened', async (t) => {
  const upstream = await startRawHttp2(authority.issueServer(), (stream) => {
    stream.head(0);
    stream.reset(0);
  });
  t.after(upstream.close);
  const dispatcher = new Http2Dispatcher({ connect: { ca: authority.cert, timeout: 5000 } }, new Http1Dispatcher({}));
  t.after(() => dispatcher.destroy());
  const request = { origin: upstream.url, path: '/', method: 'GET' } as const;
  let aborted = 0;
  for (let i = 0; i < 20_000; i += 1) {
    dispatcher.dispatch(request, {
      onRequestStart: (controller) => controller.abort(new Error('the caller disconnected')),
      onResponseError: () => {
        aborted += 1;
      },
    });
  }
  const status = new Promise<number>((resolve, reject) => {
    dispatcher.dispatch(request, {
      onResponseStart: (_controller, code) => resolve(code),
      onResponseError: (_controller, error) => reject(error),
    });
  });
  assert.equal(await soon('the response', status), 200);
  assert.deepEqual([aborted, upstream.streams], [20_000, [1]]);
});

test('distinguishes an untrusted certificate from an unreachable and a silent upstream', async (t) => {
  const ca = await authorityFile(t);
  const mute = createServer({ ...authority.issueServer(), ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('error', () => {}).resume();
  });
  const { port } = await listen(mute);
  t.after(() => closeServer(mute));
  const untrusted = await startRawHttp2(authority.issueServer(), (stream) => stream.head(0));
  t.after(untrusted.close);
  const route = { credential: 'none', http2: true, timeouts: { connect: '300ms' } };
  const app = await startTestApp(t, {
    routes: [
      {
        ...route,
        name: 'mute',
        match: { path: '/mute' },
        upstream: `https://localhost:${port}`,
        tls: { ca: { file: ca } },
      },
      { ...route, name: 'away', match: { path: '/away' }, upstream: 'https://localhost:1', tls: { ca: { file: ca } } },
      { ...route, name: 'untrusted', match: { path: '/untrusted' }, upstream: untrusted.url },
    ],
  });
  for (let i = 0; i < 2; i += 1) {
    assertProblem(await soon('the response', call(`${app.url}/mute`)), 'ERR_UPSTREAM_UNREACHABLE');
    assertProblem(await soon('the response', call(`${app.url}/away`)), 'ERR_UPSTREAM_UNREACHABLE');
    assertProblem(await soon('the response', call(`${app.url}/untrusted`)), 'ERR_UPSTREAM_TLS');
  }
});

test('uses HTTP/2 with an upstream that had only HTTP/1.1 before it restarted', async (t) => {
  const { app, ca, state, config } = await startHttp2Gateway(t, mirror, PLAIN);
  const once: UpstreamHandler = (request, response) => {
    response.setHeader('connection', 'close');
    return echo(request, response);
  };
  const http1 = await startFakeUpstream(once, { tls: authority.issueServer() });
  const route = { ...config.routes[0], upstream: http1.url, tls: { ca: { file: ca } } };
  app.reloadTo({ ...config, routes: [route] });
  assert.equal((await call(`${app.url}/github`)).status, 200);
  assert.equal(http1.requests[0]?.message.httpVersion, '1.1');
  await http1.close();
  assertProblem(await call(`${app.url}/github`), 'ERR_UPSTREAM_UNREACHABLE');
  const restarted = await startRawHttp2(authority.issueServer(), (stream) => stream.head(0), http1.port);
  t.after(restarted.close);
  const connection = await connectRaw(app.url);
  connection.send('GET /github HTTP/1.1\r\nHost: h\r\n\r\n');
  await soon('the response headers', connection.until('HTTP/1.1 200'));
  assert.equal(state.requests.length, 0);
  // The upstream never ends its response.
  connection.socket.destroy();
});

test('fails a request without a retry when the upstream allows no streams', async (t) => {
  const { app, state } = await startHttp2Gateway(t, mirror, PLAIN, { settings: { maxConcurrentStreams: 0 } });
  assertProblem(await soon('the response', call(`${app.url}/github`)), 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(state.connections, 1);
});

test('sets no limit on connecting if timeouts.connect is 0', async (t) => {
  const { app } = await startHttp2Gateway(t, mirror, { ...PLAIN, timeouts: { connect: 0 } });
  assert.equal((await soon('the response', call(`${app.url}/github`))).status, 200);
});

test('closes a connection without a response to a ping, and aborts the requests on it', async (t) => {
  const silent = await startRawHttp2(authority.issueServer(), () => {});
  t.after(silent.close);
  const dispatcher = new Http2Dispatcher(
    { connect: { ca: authority.cert, timeout: 5000 }, pingMs: 50 },
    new Http1Dispatcher({}),
  );
  t.after(() => dispatcher.destroy());
  const failure = new Promise<Error>((resolve, reject) => {
    dispatcher.dispatch(
      { origin: silent.url, path: '/', method: 'GET' },
      {
        onResponseEnd: () => reject(new Error('the response completed')),
        onResponseError: (_controller, error) => resolve(error),
      },
    );
  });
  assert.match((await soon('the failure', failure)).message, /ping/);
});

test('returns a timeout when the upstream sends no headers in time, and closes the stream', async (t) => {
  const { app, state } = await startHttp2Gateway(t, () => {}, { ...PLAIN, timeouts: { response_headers: '200ms' } });
  assertProblem(await soon('the response', call(`${app.url}/github`)), 'ERR_UPSTREAM_TIMEOUT');
  await eventually('the stream is closed', () => state.requests[0]?.stream.rstCode === constants.NGHTTP2_CANCEL);
});

test('relays a response that arrives before the whole body is sent, and stops sending the body', async (t) => {
  const { app, state } = await startHttp2Gateway(
    t,
    (_request, response) => {
      response.writeHead(413, { 'content-length': 3 });
      response.end('big');
    },
    PLAIN,
  );
  const connection = await connectRaw(app.url);
  connection.send('POST /github HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nthe first of it');
  const all = await soon('the connection ends', connection.closed());
  assert.match(all, /^HTTP\/1\.1 413 [\s\S]*\r\n\r\nbig$/);
  await eventually('the stream is closed', () => state.requests[0]?.stream.closed === true);
});

test('closes the stream when the caller aborts its upload', async (t) => {
  const { app, state } = await startHttp2Gateway(t, () => {}, PLAIN);
  const connection = await connectRaw(app.url);
  connection.send('POST /github HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  await eventually('the upload has started', () => state.requests.length === 1);
  connection.socket.destroy();
  await eventually('the stream is closed', () => state.requests[0]?.stream.rstCode === constants.NGHTTP2_CANCEL);
});

test('keeps header bytes outside ASCII', async (t) => {
  const value = Buffer.from([0xc3, 0xa9, 0x20, 0xe9]);
  // `:status: 200`, then a header with a literal name (RFC 7541 section 6.2.2).
  const block = Buffer.concat([Buffer.from([0x88, 0x00, 5]), Buffer.from('x-odd'), Buffer.from([value.length]), value]);
  const upstream = await startRawHttp2(authority.issueServer(), (stream) => {
    stream.block(block);
    stream.reset(0);
  });
  t.after(upstream.close);
  const tls = { ca: { file: await authorityFile(t) } };
  const app = await startTestApp(t, {
    routes: [{ ...PLAIN, name: 'raw', match: { path: '/' }, upstream: upstream.url, tls }],
  });
  const connection = await connectRaw(app.url);
  connection.send('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
  const all = await soon('the connection ends', connection.closed());
  assert.ok(all.includes(`x-odd: ${value.toString('latin1')}\r\n`), all);
});

test("does not count a caller's slow upload against the upstream's response timeout", async (t) => {
  const { app } = await startHttp2Gateway(t, mirror, { ...PLAIN, timeouts: { response_headers: '150ms' } });
  const connection = await connectRaw(app.url);
  connection.send('POST /github HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  await new Promise((resolve) => setTimeout(resolve, 400));
  connection.send('0\r\n\r\n');
  await soon('the response', connection.until('HTTP/1.1 200'));
});

for (const http2 of [true, false]) {
  const version = http2 ? 'HTTP/2' : 'HTTP/1.1';
  test(`retries a request after the TLS files change, over ${version}`, async (t) => {
    const { app, state, ca, authorization } = await startHttp2Gateway(t, mirror, { http2 });
    const send = () => soon('the response', call(`${app.url}/github`, { headers: { authorization } }));
    let other = 0;
    state.handler = async (_request, response) => {
      state.handler = mirror;
      await writeFile(ca, `${authority.cert}\n${authority.cert}`);
      app.reopenFiles();
      other = (await send()).status;
      response.writeHead(401).end();
    };
    assert.equal((await send()).status, 200);
    assert.deepEqual([other, state.requests.length], [200, 3]);
  });
}

test('keeps the connection of a request in flight when the TLS files change', async (t) => {
  const { held, handler } = heldOpen();
  const { app, state } = await startHttp2Gateway(t, handler, PLAIN);
  const streaming = call(`${app.url}/github`);
  await eventually('the request is in flight', () => held.length === 1);
  app.reopenFiles();
  state.handler = mirror;
  assert.equal((await soon('the second response', call(`${app.url}/github`))).status, 200);
  held[0]?.end('data: 2\n\n');
  assert.equal((await soon('the first response', streaming)).text, 'data: 1\n\ndata: 2\n\n');
});
