import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { WebSocket } from 'undici';
import { systemClock } from '../../src/clock/clock.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { soon } from '../harness/eventually.ts';
import { assertUnexpired, EXPIRY_MS, SHORT_LIVED, SINGLE_USE } from '../harness/fake-authorization-server.ts';
import { skippedTime } from '../harness/fake-clock.ts';
import { echo, firstThen, respond, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { assertProblem, call, connectRaw } from '../harness/http-call.ts';
import { serve } from '../harness/http-server.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';
import { startWebSocketServer } from '../harness/web-socket-server.ts';

const CONNECT = 'CONNECT r.svc:443 HTTP/1.1\r\n\r\n';
/** The first bytes of a TLS client. */
const CLIENT_HELLO = Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
const MAX_HALF_OPEN = 2;

/** An app with a low request limit, and clients that keep their side of a connection open. */
async function startLimited(t: TestContext) {
  const { app } = await startPlainGateway(t, {
    route: { match: { host: 'r.svc' } },
    top: { limits: { max_in_flight: MAX_HALF_OPEN } },
  });
  const { hostname, port } = new URL(app.url);
  const connectHalfOpen = (bytes: string): Socket => {
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    socket.on('error', () => {});
    socket.write(bytes);
    t.after(() => socket.destroy());
    return socket;
  };
  return { app, connectHalfOpen };
}

/** Everything received until the server closes its side. The client keeps its side open. */
async function received(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => void chunks.push(chunk));
  await soon('the server closes its side', once(socket, 'end'));
  return Buffer.concat(chunks);
}

for (const [what, bytes] of [
  ['CONNECT', 'CONNECT evil:1 HTTP/1.1\r\nHost: evil:1\r\n\r\n'],
  ['WebSocket', 'GET / HTTP/1.1\r\nHost: elsewhere\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'],
] as const) {
  test(`frees the slot of a refused ${what} whose client keeps the connection half open`, async (t) => {
    const { app, connectHalfOpen } = await startLimited(t);
    for (let i = 0; i <= 2 * MAX_HALF_OPEN; i += 1) {
      assert.match(String(await received(connectHalfOpen(bytes))), /^HTTP\/1\.1 403 /);
    }
    assert.equal((await call(app.url, { headers: { host: 'r.svc' } })).status, 200);
    await app.metricBecomes('cambist_requests_in_flight', 0);
    assert.ok(app.logs.filter(({ msg }) => msg === 'request').length > MAX_HALF_OPEN);
  });
}

test('resets a connection after refusing TLS on it, though its client keeps its side open', async (t) => {
  const { connectHalfOpen } = await startLimited(t);
  const socket = connectHalfOpen(CONNECT);
  const response = received(socket);
  await soon('the tunnel', once(socket, 'data'));
  socket.write(CLIENT_HELLO);
  const text = await response;
  assert.deepEqual([...text.subarray(-7)], [0x15, 3, 1, 0, 2, 2, 40]);
  const reset = new Promise((resolve) => socket.once('close', resolve));
  // A closed socket responds to later bytes with a reset.
  const writing = setInterval(() => socket.write('x'), 20);
  t.after(() => clearInterval(writing));
  await soon('the reset', reset);
});

test('finishes pipelined requests without a token whose caller disconnected at once', async (t) => {
  const { app } = await startGateway(t, { top: { limits: { max_in_flight: 3, shutdown_grace: '1h' } } });
  const connection = await connectRaw(app.url);
  connection.send('GET /github HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(50));
  connection.socket.resetAndDestroy();
  await app.metricBecomes('cambist_requests_in_flight', 0);
  await soon('the stop', app.stop());
});

test('keeps nothing of finished requests that were pipelined on a connection', async (t) => {
  const { app, authorization } = await startGateway(t, { handler: ({ url }, response) => void response.end(url) });
  const connection = await connectRaw(app.url);
  const { localPort } = connection.socket;
  let atApp: Socket | undefined;
  const note = (message: unknown): void => {
    const { socket } = message as { readonly socket: Socket };
    if (socket.remotePort === localPort) atApp = socket;
  };
  subscribe('http.server.request.start', note);
  t.after(() => unsubscribe('http.server.request.start', note));
  const rounds = 10;
  const counts: (number | undefined)[] = [];
  for (let round = 1; round <= rounds; round += 1) {
    for (const part of ['first', 'second', 'last']) {
      const target = `/github/${part}-of-${round}.`;
      connection.send(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n\r\n`);
    }
    await soon('the responses', connection.until(`/last-of-${round}.`));
    await app.metricBecomes('cambist_requests_in_flight', 0);
    counts.push(atApp?.listenerCount('close'));
  }
  assert.deepEqual(counts, Array(rounds).fill(counts[0]));
  assert.notEqual(counts[0], undefined);
});

for (const length of [0, 10, 20_000]) {
  test(`sends 100 Continue before the headers of its response, behind a slow response: ${length} bytes`, async (t) => {
    let respondFirst = (): void => {};
    const { app, upstream, authorization } = await startGateway(t, {
      handler({ method }, response) {
        if (method === 'GET') respondFirst = () => void response.end('first');
        else response.end('x'.repeat(length));
      },
    });
    const connection = await connectRaw(app.url);
    const fields = `Host: localhost\r\nAuthorization: ${authorization}\r\n`;
    connection.send(`GET /github HTTP/1.1\r\n${fields}\r\n`);
    connection.send(`POST /github HTTP/1.1\r\n${fields}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}`);
    await app.metricBecomes('cambist_requests_total', 1, { method: 'POST', code: '200', outcome: 'forwarded' });
    respondFirst();
    const end = new RegExp(
      `first.*?HTTP/1\\.1 100 Continue\\r\\n\\r\\nHTTP/1\\.1 200 OK\\r\\n.*\\r\\n\\r\\n.*x{${length}}`,
      's',
    );
    const all = await soon('both responses', connection.until(end));
    assert.equal(all.match(/100 Continue/g)?.length, 1);
    assert.equal(upstream.requests[1]?.headers.expect, undefined);
    connection.socket.destroy();
  });
}

const authority = createCertificateAuthority();

/** An upstream, and tokens that can expire before its connections open. */
async function startSlow(t: TestContext, handler: UpstreamHandler = echo, keys: Record<string, unknown> = {}) {
  const skip = skippedTime(t);
  const gateway = await startGateway(t, {
    handler: (request, response) => {
      // Each attempt must open its own connection.
      response.setHeader('connection', 'close');
      return handler(request, response);
    },
  });
  const { app, authorizationServer, upstream, config } = gateway;
  const { slow, behind } = await behindSlowTls(t, upstream.port);
  app.reloadTo({ ...config, routes: config.routes.map((route) => ({ ...route, ...behind, ...keys })) });
  authorizationServer.behaviour = SHORT_LIVED;
  const send = () => gateway.send({}, 'hello');
  return { ...gateway, slow, before: slow.before, expire: () => skip(EXPIRY_MS), send };
}

/** A TLS proxy in front of a plain server on this port. The test learns of each connection before it opens. */
async function behindSlowTls(t: TestContext, port: number) {
  const tls = createTlsServer(authority.issueServer(), (near) => {
    if (slow.closedAtOnce > 0) {
      slow.closedAtOnce -= 1;
      near.end();
      return;
    }
    const far = connect(port, '127.0.0.1');
    near.on('error', () => {}).once('close', () => far.destroy());
    far.on('error', () => {}).once('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    slow.before.shift()?.();
    tls.emit('connection', socket);
  });
  const slow = {
    /** Run before the next connections open, one each. */
    before: [] as (() => void)[],
    /** The number of next connections to close as soon as they are established. */
    closedAtOnce: 0,
  };
  const ca = writerInto(temporaryFolder(t))('ca.pem', authority.cert);
  const upstream = `https://localhost:${(await serve(t, server)).port}`;
  return { slow, behind: { upstream, tls: { ca } } };
}

test('replaces a token that expires while the connection opens', async (t) => {
  const { send, before, expire, upstream, authorizationServer, app } = await startSlow(t);
  before.push(expire);
  const response = await send();
  assert.deepEqual([response.status, JSON.parse(response.text).body], [200, 'hello']);
  assert.equal(authorizationServer.requests.length, 2);
  assert.equal(upstream.requests.length, 1);
  assertUnexpired(authorizationServer, upstream.requests);
  assert.ok(!app.logs.some(({ level }) => Number(level) >= 50));
});

test('returns an error if connecting always outlasts the token', async (t) => {
  const { send, slow, expire, upstream, app } = await startSlow(t);
  slow.before.push(expire, expire);
  // Otherwise the retry would use the connection that the first attempt opened.
  slow.closedAtOnce = 1;
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(upstream.requests.length, 0);
  assert.match(JSON.stringify(app.logs), /connecting to the upstream took longer than a token lives/);
});

test('sends a single-use token on a slow connection, and requests it once', async (t) => {
  const { send, before, expire, upstream, authorizationServer } = await startSlow(t);
  authorizationServer.behaviour = SINGLE_USE;
  before.push(expire);
  assert.equal((await send()).status, 200);
  assert.deepEqual([authorizationServer.requests.length, upstream.requests.length], [1, 1]);
});

const MORE_SCOPES = 'Bearer error="insufficient_scope", scope="more"';

for (const [what, refuse, keys] of [
  ['a retry after a 401', respond(401), {}],
  ['a retry with more scopes', respond(403, 'more', { 'www-authenticate': MORE_SCOPES }), { step_up: ['more'] }],
] as const) {
  test(`replaces a token that expires while ${what} connects`, async (t) => {
    const { send, before, expire, upstream, authorizationServer } = await startSlow(t, firstThen(refuse), keys);
    before.push(() => {}, expire);
    const response = await send();
    assert.deepEqual([response.status, JSON.parse(response.text).body], [200, 'hello']);
    assert.deepEqual([authorizationServer.requests.length, upstream.requests.length], [3, 2]);
    assertUnexpired(authorizationServer, upstream.requests);
  });
}

test('replaces a token that expires while a WebSocket handshake connects', async (t) => {
  const skip = skippedTime(t);
  const backend = await startWebSocketServer(t);
  const { slow, behind } = await behindSlowTls(t, backend.port);
  const { app, authorization: caller, authorizationServer } = await startGateway(t, { route: behind });
  authorizationServer.behaviour = SHORT_LIVED;
  slow.before.push(() => skip(EXPIRY_MS));
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/github`, { headers: { authorization: caller } });
  t.after(() => socket.close());
  await soon('the WebSocket is open', new Promise((resolve) => socket.addEventListener('open', resolve)));
  assert.equal(authorizationServer.requests.length, 2);
  const authorization = backend.handshakes.map(({ authorization: bearer = '' }) => bearer);
  assertUnexpired(authorizationServer, [{ authorization, receivedAtMs: systemClock.wallMs() }]);
});
