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

/** Opens an answer, which ends when the test says so. */
function heldOpen() {
  const held: Http2ServerResponse[] = [];
  const handler = (_request: unknown, response: Http2ServerResponse): void => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: 1\n\n');
    held.push(response);
  };
  return { held, handler };
}

for (const [how, turnAway] of [
  ['asks for another connection', (response: Http2ServerResponse) => response.stream.session?.goaway(0)],
  ['closes in order', (response: Http2ServerResponse) => response.stream.session?.close()],
] as const) {
  test(`an answer under way is whole though its upstream ${how}, and the next request goes elsewhere`, async (t) => {
    const { held, handler } = heldOpen();
    const { app, state } = await startHttp2Gateway(t, handler, PLAIN);
    const streaming = call(`${app.url}/github`);
    await eventually('it is under way', () => held.length === 1);
    turnAway(held[0] as Http2ServerResponse);
    await new Promise((resolve) => setTimeout(resolve, 50));
    state.handler = mirror;
    assert.equal((await soon('the next', call(`${app.url}/github`))).status, 200);
    assert.equal(state.connections, 2);
    held[0]?.end('data: 2\n\n');
    assert.equal((await soon('the first', streaming)).text, 'data: 1\n\ndata: 2\n\n');
  });
}

test('requests share a connection, as many as the upstream allows, and more of them get another', async (t) => {
  const { held, handler } = heldOpen();
  const { app, state } = await startHttp2Gateway(t, handler, PLAIN, { settings: { maxConcurrentStreams: 4 } });
  const answers = await Promise.all(Array.from({ length: 10 }, () => soon('a head', open(`${app.url}/github`))));
  assert.deepEqual([held.length, state.connections], [10, 3]);
  for (const response of held) response.end();
  for (const answer of answers) answer.resume();
});

test('a caller who waits for a connection and leaves is not sent upstream', async (t) => {
  const { handler } = heldOpen();
  const { app, state } = await startHttp2Gateway(t, handler, PLAIN, {
    SNICallback: (_name: string, done: (error: null) => void) => void setTimeout(() => done(null), 200),
  });
  const connection = await connectRaw(app.url);
  connection.send('GET /github HTTP/1.1\r\nHost: h\r\n\r\n');
  await new Promise((resolve) => setTimeout(resolve, 50));
  connection.socket.destroy();
  await eventually('it is logged', () => app.logs.some(({ outcome }) => outcome === 'cancelled'));
  await eventually('it is connected', () => state.connections === 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(state.requests.length, 0);
});

test('however many requests are given up before there is a connection, the next is served', async (t) => {
  const upstream = await startRawHttp2(authority.issueServer(), (stream) => {
    stream.head(0);
    stream.reset(0);
  });
  t.after(upstream.close);
  const dispatcher = new Http2Dispatcher({ connect: { ca: authority.cert, timeout: 5000 } }, new Http1Dispatcher({}));
  t.after(() => dispatcher.destroy());
  const request = { origin: upstream.url, path: '/', method: 'GET' } as const;
  let givenUp = 0;
  for (let i = 0; i < 20_000; i += 1) {
    dispatcher.dispatch(request, {
      onRequestStart: (controller) => controller.abort(new Error('its caller is gone')),
      onResponseError: () => {
        givenUp += 1;
      },
    });
  }
  const status = new Promise<number>((resolve, reject) => {
    dispatcher.dispatch(request, {
      onResponseStart: (_controller, code) => resolve(code),
      onResponseError: (_controller, error) => reject(error),
    });
  });
  assert.equal(await soon('the answer', status), 200);
  assert.deepEqual([givenUp, upstream.streams], [20_000, [1]]);
});

test('an upstream whose certificate is not trusted, that is away, or that says nothing is told apart', async (t) => {
  const ca = await authorityFile(t);
  const mute = createServer({ ...authority.issueServer(), ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('error', () => {}).resume();
  });
  const { port } = await listen(mute);
  t.after(() => closeServer(mute));
  const stranger = await startRawHttp2(authority.issueServer(), (stream) => stream.head(0));
  t.after(stranger.close);
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
      { ...route, name: 'stranger', match: { path: '/stranger' }, upstream: stranger.url },
    ],
  });
  for (let i = 0; i < 2; i += 1) {
    assertProblem(await soon('the answer', call(`${app.url}/mute`)), 'ERR_UPSTREAM_UNREACHABLE');
    assertProblem(await soon('the answer', call(`${app.url}/away`)), 'ERR_UPSTREAM_UNREACHABLE');
    assertProblem(await soon('the answer', call(`${app.url}/stranger`)), 'ERR_UPSTREAM_TLS');
  }
});

test('an upstream that had no HTTP/2 when it was first asked has it when it comes back', async (t) => {
  const { app, ca, state, config } = await startHttp2Gateway(t, mirror, PLAIN);
  const once: UpstreamHandler = (request, response) => {
    response.setHeader('connection', 'close');
    return echo(request, response);
  };
  const old = await startFakeUpstream(once, { tls: authority.issueServer() });
  const route = { ...config.routes[0], upstream: old.url, tls: { ca: { file: ca } } };
  app.reloadTo({ ...config, routes: [route] });
  assert.equal((await call(`${app.url}/github`)).status, 200);
  assert.equal(old.requests[0]?.message.httpVersion, '1.1');
  await old.close();
  assertProblem(await call(`${app.url}/github`), 'ERR_UPSTREAM_UNREACHABLE');
  const back = await startRawHttp2(authority.issueServer(), (stream) => stream.head(0), old.port);
  t.after(back.close);
  const connection = await connectRaw(app.url);
  connection.send('GET /github HTTP/1.1\r\nHost: h\r\n\r\n');
  await soon('its head', connection.until('HTTP/1.1 200'));
  assert.equal(state.requests.length, 0);
});

test('an upstream that takes no request is asked once, and its caller is told', async (t) => {
  const { app, state } = await startHttp2Gateway(t, mirror, PLAIN, { settings: { maxConcurrentStreams: 0 } });
  assertProblem(await soon('the answer', call(`${app.url}/github`)), 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(state.connections, 1);
});

test('connecting may take as long as it takes, where the config says so', async (t) => {
  const { app } = await startHttp2Gateway(t, mirror, { ...PLAIN, timeouts: { connect: 0 } });
  assert.equal((await soon('the answer', call(`${app.url}/github`))).status, 200);
});

test('a connection on which a ping is not answered is dead, and what is under way breaks off', async (t) => {
  const silent = await startRawHttp2(authority.issueServer(), () => {});
  t.after(silent.close);
  const dispatcher = new Http2Dispatcher(
    { connect: { ca: authority.cert, timeout: 5000 }, pingMs: 50 },
    new Http1Dispatcher({}),
  );
  t.after(() => dispatcher.destroy());
  const ended = new Promise<Error>((resolve, reject) => {
    dispatcher.dispatch(
      { origin: silent.url, path: '/', method: 'GET' },
      {
        onResponseEnd: () => reject(new Error('it ended well')),
        onResponseError: (_controller, error) => resolve(error),
      },
    );
  });
  assert.match((await soon('the end', ended)).message, /ping/);
});

test('an upstream that sends no headers in time is too slow, and its stream is closed', async (t) => {
  const { app, state } = await startHttp2Gateway(t, () => {}, { ...PLAIN, timeouts: { response_headers: '200ms' } });
  assertProblem(await soon('the answer', call(`${app.url}/github`)), 'ERR_UPSTREAM_TIMEOUT');
  await eventually('it is closed', () => state.requests[0]?.stream.rstCode === constants.NGHTTP2_CANCEL);
});

test('an upstream that answers before it has the whole body is heard, and gets no more of it', async (t) => {
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

test('a caller whose upload breaks off ends its stream', async (t) => {
  const { app, state } = await startHttp2Gateway(t, () => {}, PLAIN);
  const connection = await connectRaw(app.url);
  connection.send('POST /github HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  await eventually('it has begun', () => state.requests.length === 1);
  connection.socket.destroy();
  await eventually('it is closed', () => state.requests[0]?.stream.rstCode === constants.NGHTTP2_CANCEL);
});

test('the bytes of a header that are no ASCII pass as they came', async (t) => {
  const value = Buffer.from([0xc3, 0xa9, 0x20, 0xe9]);
  // `:status: 200`, then a literal with a name of its own (RFC 7541 section 6.2.2).
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

test('the time in which a caller sends its body is not taken for that of its upstream', async (t) => {
  const { app } = await startHttp2Gateway(t, mirror, { ...PLAIN, timeouts: { response_headers: '150ms' } });
  const connection = await connectRaw(app.url);
  connection.send('POST /github HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  await new Promise((resolve) => setTimeout(resolve, 400));
  connection.send('0\r\n\r\n');
  await soon('the answer', connection.until('HTTP/1.1 200'));
});

for (const http2 of [true, false]) {
  const version = http2 ? 'HTTP/2' : 'HTTP/1.1';
  test(`a request that is sent once more after TLS files have changed finds its upstream, by ${version}`, async (t) => {
    const { app, state, ca, authorization } = await startHttp2Gateway(t, mirror, { http2 });
    const send = () => soon('the answer', call(`${app.url}/github`, { headers: { authorization } }));
    let other = 0;
    state.handler = async (_request, response) => {
      state.handler = mirror;
      await writeFile(ca, `${authority.cert}\n${authority.cert}`);
      app.rereadTls();
      other = (await send()).status;
      response.writeHead(401).end();
    };
    assert.equal((await send()).status, 200);
    assert.deepEqual([other, state.requests.length], [200, 3]);
  });
}

test('new TLS files leave what is under way on the connection that it has', async (t) => {
  const { held, handler } = heldOpen();
  const { app, state } = await startHttp2Gateway(t, handler, PLAIN);
  const streaming = call(`${app.url}/github`);
  await eventually('it is under way', () => held.length === 1);
  app.rereadTls();
  state.handler = mirror;
  assert.equal((await soon('the next', call(`${app.url}/github`))).status, 200);
  held[0]?.end('data: 2\n\n');
  assert.equal((await soon('the first', streaming)).text, 'data: 1\n\ndata: 2\n\n');
});
