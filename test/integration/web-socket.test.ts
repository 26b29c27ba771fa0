import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'undici';
import { startBareUpstream } from '../harness/bare-upstream.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { type Gateway, startGateway } from '../harness/gateway.ts';
import { connectRaw, sendRaw } from '../harness/http-call.ts';
import { startWebSocketServer } from '../harness/web-socket-server.ts';

const LONG_BYTES = 16 * 1024 * 1024;

async function startWebSockets(t: TestContext, top: Record<string, unknown> = {}) {
  const backend = await startWebSocketServer(t);
  const gateway = await startGateway(t, { route: { upstream: `${backend.url}/ws` }, top });
  const { app, authorization } = gateway;
  const connect = (headers: Record<string, string> = { authorization }, protocols: string[] = []) => {
    const socket = new WebSocket(`${app.url.replace('http', 'ws')}/github/x?y`, { headers, protocols });
    t.after(() => socket.close());
    return socket;
  };
  return { ...gateway, backend, connect };
}

const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';

/** A connection on which a handshake and the bytes after it have been sent. */
async function sendHandshake({ app, authorization }: Pick<Gateway, 'app' | 'authorization'>, after = '') {
  const connection = await connectRaw(app.url);
  const head = `GET /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n`;
  connection.send(`${head}${UPGRADE}\r\n${after}`);
  return connection;
}

function closeOf(socket: WebSocket): Promise<number> {
  return new Promise((resolve) => socket.addEventListener('close', ({ code }) => resolve(code)));
}

function opened(socket: WebSocket): Promise<void> {
  return soon(
    'the WebSocket is open',
    new Promise((resolve, reject) => {
      socket.addEventListener('open', () => resolve());
      socket.addEventListener('error', () => reject(new Error('the WebSocket did not open')));
    }),
  );
}

function nextText(socket: WebSocket): Promise<unknown> {
  return soon(
    'a text',
    new Promise((resolve) => socket.addEventListener('message', ({ data }) => resolve(data), { once: true })),
  );
}

test('serves a handshake of HTTP/1.0 as an ordinary request', async (t) => {
  const { app, upstream, authorization } = await startGateway(t);
  const head = `GET /github HTTP/1.0\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n`;
  assert.match(await sendRaw(app.url, `${head}${UPGRADE}\r\n`), /^HTTP\/1\.1 200 /);
  assert.equal(upstream.requests[0]?.headers.upgrade, undefined);
});

test('opens a WebSocket with the issued token, and relays texts in both directions', async (t) => {
  const { connect, backend, authorizationServer, subjectToken, app } = await startWebSockets(t);
  const socket = connect(undefined, ['mcp', 'other']);
  await opened(socket);
  assert.equal(socket.protocol, 'mcp');
  for (const text of ['hello', 'again']) {
    const reply = nextText(socket);
    socket.send(text);
    assert.equal(await reply, text);
  }
  const [handshake] = backend.handshakes;
  assert.equal(handshake?.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
  assert.equal(handshake?.url, '/ws/x?y');
  assert.equal(handshake?.headers.host, new URL(backend.url).host);
  assert.ok(!JSON.stringify(handshake?.rawHeaders).includes(subjectToken));

  assert.equal(await app.metric('cambist_requests_total', { route: 'github', code: '101', outcome: 'forwarded' }), 1);
  assert.equal(await app.metric('cambist_open_streams', { route: 'github' }), 1);
  assert.equal(await app.metric('cambist_requests_in_flight', { route: 'github' }), 1);
  const closed = closeOf(socket);
  socket.close(1000);
  assert.equal(await soon('the WebSocket is closed', closed), 1000);
  for (const gauge of ['cambist_requests_in_flight', 'cambist_open_streams']) await app.metricBecomes(gauge, 0);
  const [line] = await app.logged('request');
  assert.equal(line?.status, 101);
});

test('relays a text that the backend sends with its handshake response', async (t) => {
  const { connect, backend } = await startWebSockets(t);
  backend.greeting = 'welcome';
  assert.equal(await nextText(connect()), 'welcome');
});

test('exchanges again after a 401 to the handshake, and repeats the handshake', async (t) => {
  const { connect, backend, authorizationServer, app } = await startWebSockets(t);
  backend.refusal = ({ authorization }) =>
    authorization === `Bearer ${authorizationServer.requests[0]?.issued}`
      ? 'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n'
      : undefined;
  await opened(connect());
  assert.deepEqual([backend.handshakes.length, authorizationServer.requests.length], [2, 2]);
  assert.equal(await app.metric('cambist_upstream_retries_total', { route: 'github' }), 1);
});

test('relays a refusal of the handshake, and closes the connection', async (t) => {
  const gateway = await startWebSockets(t);
  const body = 'x'.repeat(500_000);
  gateway.backend.refusal = () =>
    `HTTP/1.1 403 No\r\nX-Why: because\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  const connection = await sendHandshake(gateway);
  const all = await soon('the response', connection.closed());
  assert.match(all, /^HTTP\/1\.1 403 /);
  assert.match(all, /\r\nX-Why: because\r\n/);
  assert.ok(all.replace(/\r\n[0-9a-f]+\r\n/g, '').includes(body.slice(0, 1000)) && all.endsWith('0\r\n\r\n'));
});

test('relays a long refusal of the handshake to a caller that reads slowly', async (t) => {
  const gateway = await startGateway(t, {
    handler: (_received, response) => void response.writeHead(200).end(Buffer.alloc(LONG_BYTES)),
  });
  const connection = await sendHandshake(gateway);
  await connection.until('HTTP/1.1 200');
  connection.socket.pause();
  // Long enough for every buffer on the way to fill up.
  await delay(200);
  connection.socket.resume();
  assert.ok((await connection.closed()).length > LONG_BYTES);
});

test('returns 502 when the backend switches to another protocol', async (t) => {
  const gateway = await startWebSockets(t);
  gateway.backend.refusal = () =>
    'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\nbytes';
  const connection = await sendHandshake(gateway);
  const all = await soon('the response', connection.closed());
  assert.match(all, /^HTTP\/1\.1 502 [\s\S]*ERR_UPSTREAM_UNREACHABLE/);
  assert.ok(!all.includes('bytes'));
});

test('closes the WebSocket of a client whose backend closes its own', async (t) => {
  const { connect, backend } = await startWebSockets(t);
  const one = connect();
  await opened(one);
  const closed = closeOf(one);
  backend.handshakes[0]?.socket.destroy();
  await soon('the client sees the close', closed);
});

test('keeps an open WebSocket during shutdown, and closes it when the grace elapses', async (t) => {
  const { connect, app } = await startWebSockets(t, { limits: { shutdown_grace: '3s' } });
  const socket = connect();
  await opened(socket);
  const stopped = app.stop();
  const reply = nextText(socket);
  socket.send('still here');
  assert.equal(await reply, 'still here');
  const closed = closeOf(socket);
  await soon('the app has stopped', stopped);
  await soon('the client sees the close', closed);
});

test('serves requests that offer another protocol on one connection, and adds no listeners for them', async (t) => {
  const { app, authorization, upstream } = await startGateway(t);
  const warnings: string[] = [];
  const note = ({ message }: Error) => void warnings.push(message);
  process.on('warning', note);
  t.after(() => process.off('warning', note));
  const connection = await connectRaw(app.url);
  const h2c = 'Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n';
  for (const [index, offer] of [UPGRADE, ...Array<string>(20).fill(h2c)].entries()) {
    const head = `POST /github/${index} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n${offer}`;
    connection.send(`${head}X-Latin: \xe4\r\nContent-Length: 5\r\n\r\nhel`);
    connection.send('lo');
    await soon('the response', connection.until(new RegExp(`"url":"/mcp/${index}".*"body":"hello"`)));
    const received = upstream.requests.at(-1)?.rawHeaders.join(' ') ?? '';
    assert.ok(!/upgrade|http2-settings/i.test(received), received);
  }
  assert.deepEqual(warnings, []);
});

test('keeps a pipelined handshake out of the response to an earlier request', async (t) => {
  const { app, authorization, upstream, config, backend } = await startWebSockets(t);
  let respond = (): void => {};
  upstream.handler = (_request, response) => {
    respond = () => response.end('the first response');
  };
  app.reloadTo({
    ...config,
    routes: [...config.routes, { ...config.routes[0], name: 'slow', match: { path: '/slow' }, upstream: upstream.url }],
  });
  const connection = await connectRaw(app.url);
  const head = `HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}`;
  connection.send(`GET /slow ${head}\r\n\r\n`);
  await eventually('the first request is in flight', () => upstream.requests.length === 1);
  connection.send(`GET /github ${head}\r\n${UPGRADE}\r\n`);
  respond();
  const all = await soon('the connection closes', connection.closed());
  assert.doesNotMatch(all, /101 Switching/);
  assert.equal(backend.handshakes.length, 0);
});

test('forwards bytes that a caller sends before the handshake response, in order and once', async (t) => {
  const { origin, connections } = await startBareUpstream(t);
  const gateway = await startGateway(t, { route: { upstream: origin } });
  const received = () => connections[0]?.received ?? '';
  const client = await sendHandshake(gateway, 'early,');
  t.after(() => client.socket.destroy());
  await eventually('the backend has the handshake', () => received().includes('\r\n\r\n'));
  await delay(50);
  client.send('more,');
  connections[0]?.send(`HTTP/1.1 101 Switching Protocols\r\n${UPGRADE}\r\n`);
  await soon('the response', client.until('101 Switching'));
  client.send('late');
  await eventually('all bytes have arrived', () => received().endsWith('late'));
  assert.match(received(), /\r\n\r\nearly,more,late$/);
});
