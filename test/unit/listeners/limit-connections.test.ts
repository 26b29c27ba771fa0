import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { idleConnections, secured } from '../../../src/listeners/idle-connection.ts';
import { displaceConnections, limitConnections } from '../../../src/listeners/limit-connections.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { get, post } from '../../harness/disconnects.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { connectRaw } from '../../harness/http-call.ts';
import { listen, serve } from '../../harness/http-server.ts';

const SERVED = /\r\n\r\nserved$/;

/** A server with a limit. It never responds to a path that begins with /hung. */
async function startLimited(t: TestContext, max: number, onRequest: RequestListener = () => {}) {
  const reported: number[] = [];
  const server = createServer((request, response) => {
    onRequest(request, response);
    if (!request.url?.startsWith('/hung') && !response.writableEnded) response.end('served');
  });
  server.on('upgrade', (_request, socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n'));
  const accepted: Socket[] = [];
  server.on('connection', (socket) => accepted.push(socket));
  const limit = { max };
  const { counts } = limitConnections(server, {
    max: () => limit.max,
    http: server,
    onDropped: (count) => reported.push(count),
  });
  const { port } = await serve(t, server);
  const connect = async () => {
    const before = accepted.length;
    const connection = await connectRaw(`http://127.0.0.1:${port}`);
    await eventually('the server has the connection', () => accepted.length > before);
    return connection;
  };
  /** A connection that is idle after a request. */
  const used = async () => {
    const connection = await connect();
    connection.send(get('/'));
    await soon('the response', connection.until(SERVED));
    return connection;
  };
  return { limit, counts, reported, accepted, connect, used };
}

type Connection = Awaited<ReturnType<typeof connectRaw>>;

/** The connections that are closed, by their place. */
const closedOf = (connections: readonly Connection[]): number[] =>
  connections.flatMap(({ socket }, index) => (socket.closed ? [index] : []));

test('closes the oldest silent connection for a new one', async (t) => {
  const { counts, reported, connect, used } = await startLimited(t, 3);
  const silent = [await connect(), await connect(), await connect()];
  await used();
  await eventually('the oldest is closed', () => silent[0]?.socket.closed === true);
  await used();
  await eventually('the next is closed', () => silent[1]?.socket.closed === true);
  assert.deepEqual(closedOf(silent), [0, 1]);
  assert.deepEqual({ ...counts }, { open: 3, dropped: 2 });
  assert.deepEqual(reported, [1]);
});

test('closes the connection that was unused for longest, between two requests', async (t) => {
  const { connect, used } = await startLimited(t, 3);
  const connections = [await used(), await used(), await used()];
  // From here on it is known how much each has received.
  connections.push(await used());
  await eventually('room was made', () => closedOf(connections).length === 1);
  assert.deepEqual(closedOf(connections), [0]);
  connections[1]?.send(get('/'));
  await soon('another response', connections[1]?.until(/served[\s\S]+served$/) ?? Promise.reject());
  await connect();
  await eventually('room was made', () => closedOf(connections).length === 2);
  assert.deepEqual(closedOf(connections), [0, 2]);
});

test('new connections that arrive together take the places of idle ones, and not of each other', async (t) => {
  const { connect, used } = await startLimited(t, 4);
  const idle = [await used(), await used(), await used(), await used()];
  // A silent connection makes the server look at all others, which receive something after that.
  await connect();
  for (const connection of idle.slice(1)) {
    connection.send(get('/'));
    await soon('another response', connection.until(/served[\s\S]+served$/));
  }
  const burst = await Promise.all([connect(), connect(), connect()]);
  for (const connection of burst) connection.send(get('/'));
  for (const connection of burst) await soon('the response', connection.until(SERVED));
});

const BUSY: readonly (readonly [name: string, sent: string, received: RegExp])[] = [
  ['a request in flight', get('/hung'), /^$/],
  ['a request behind another', get('/') + get('/hung'), SERVED],
  ['a body that its request does not wait for', 'POST /hung HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc', /^$/],
  ['an upgrade', 'GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n', /101 Switching/],
];

for (const [name, sent, received] of BUSY) {
  test(`keeps a connection with ${name}, and closes the new one`, async (t) => {
    const { counts, accepted, connect } = await startLimited(t, 1);
    const busy = await connect();
    busy.send(sent);
    await soon('what it gets', busy.until(received));
    await eventually('all bytes are read', () => accepted[0]?.bytesRead === sent.length);
    const refused = await connect();
    assert.equal(await soon('the new one is closed', refused.closed()), '');
    assert.equal(busy.socket.closed, false);
    assert.deepEqual({ ...counts }, { open: 1, dropped: 1 });
    assert.equal(accepted[0]?.destroyed, false);
  });
}

for (const [name, sent] of [
  ['headers', `${get('/')}GET /other HT`],
  ['a body after its response', 'POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc'],
] as const) {
  test(`closes a connection with ${name} partly received for a new one, but an idle one first`, async (t) => {
    const { accepted, connect, used } = await startLimited(t, 2);
    const incomplete = await connect();
    incomplete.send(sent);
    await soon('what it gets', incomplete.until(SERVED));
    await eventually('all bytes are read', () => accepted[0]?.bytesRead === sent.length);
    const idle = await used();
    await used();
    await eventually('the idle one is closed', () => idle.socket.closed);
    assert.equal(incomplete.socket.closed, false);
    (await connect()).send(get('/hung'));
    await connect();
    await eventually('the incomplete one is closed', () => incomplete.socket.closed);
  });
}

test('keeps a connection whose response is written but not sent', async (t) => {
  const { accepted, connect } = await startLimited(t, 1, (_request, response) => {
    response.end(Buffer.alloc(64 * 1024 * 1024));
  });
  const slow = await connect();
  slow.socket.pause();
  slow.send(get('/'));
  await eventually('the response waits', () => (accepted[0]?.writableLength ?? 0) > 0);
  await soon('the new one is closed', (await connect()).closed());
  assert.equal(accepted[0]?.destroyed, false);
});

test('follows a lower limit, and closes as many idle connections as needed', async (t) => {
  const { limit, counts, accepted, connect, used } = await startLimited(t, 4);
  const connections = [await connect(), await used(), await connect()];
  const busy = await connect();
  busy.send(get('/hung'));
  await eventually('the request is read', () => accepted[3]?.bytesRead === get('/hung').length);
  connections.push(busy);
  limit.max = 2;
  const late = await used();
  await eventually('there are two', () => closedOf(connections).length === 3);
  assert.deepEqual(closedOf(connections), [0, 1, 2]);
  assert.equal(counts.open, 2);
  late.socket.destroy();
  await once(late.socket, 'close');
  await eventually('one left', () => counts.open === 1);
});

/** Opens the server on a free port. `connected` connects a client, which sends a text. */
async function openServer(t: TestContext, server: Server) {
  const { port } = await listen(server);
  const open: Socket[] = [];
  t.after(() => {
    for (const socket of open) socket.destroy();
    server.closeAllConnections();
    server.close();
  });
  const connected = async (text = '', tls?: ConnectionOptions): Promise<Socket> => {
    const socket = tls === undefined ? connect(port, '127.0.0.1') : connectTls(port, '127.0.0.1', tls);
    socket.on('error', () => {});
    open.push(socket);
    await once(socket, tls === undefined ? 'connect' : 'secureConnect');
    socket.write(text);
    return socket;
  };
  return { port, connected };
}

test('serves a new client while others hold all connections, and closes the oldest of theirs', async (t) => {
  const server = createServer((_request, response) => response.end('served'));
  const told: number[] = [];
  const { counts } = displaceConnections(server, 3, (count) => told.push(count));
  const { port, connected } = await openServer(t, server);
  const [oldest, ...others] = [await connected(), await connected(), await connected()];
  await eventually('three connections', () => counts.open === 3);
  const closed = once(oldest as Socket, 'close');
  const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
  assert.equal(await response.text(), 'served');
  await closed;
  assert.ok(others.every((socket) => !socket.destroyed && socket.readable));
  assert.equal(counts.dropped, 1);
  assert.deepEqual(told, [1]);
  for (let i = 0; i < 5; i += 1) await connected();
  await eventually('no more than three', () => counts.open <= 3 && counts.dropped >= 4);
  assert.deepEqual(told, [1]);
});

const authority = createCertificateAuthority();
for (const [way, create, tls] of [
  ['TCP', createServer, undefined],
  ['TLS', (listener: RequestListener) => createTlsServer(authority.issueServer(), listener), { ca: authority.cert }],
] as const) {
  test(`keeps a complete request over ${way} while other clients connect, but no more than half`, async (t) => {
    const waiting: ServerResponse[] = [];
    const server = create((request, response) => {
      request.resume();
      waiting.push(response);
    });
    const { counts } = displaceConnections(server, 4, () => {});
    const { connected } = await openServer(t, server);
    const genuine = await connected(post('/', 0), tls);
    await eventually('a request', () => waiting.length === 1);
    for (let i = 0; i < 8; i += 1) await connected();
    await eventually('others are dropped', () => counts.dropped === 5);
    assert.ok(!genuine.destroyed && genuine.readable);
    assert.equal(waiting[0]?.destroyed, false);
    // Requests that are never answered keep no client out.
    for (let i = 0; i < 3; i += 1) {
      await connected(post('/', 0), tls);
      await eventually('another request', () => waiting.length === i + 2);
    }
    const late = await connected('', tls);
    await eventually('the oldest request made room', () => counts.dropped === 9);
    late.write(post('/', 0));
    await eventually('the late request', () => waiting.length === 5);
  });
}

const AFTER_RESPONSE = { bytesRead: 9, writableLength: 0, _httpMessage: null };

function socketOf(state: object): Socket {
  return state as Socket;
}

/** A server whose list of connections between two requests is in the place where Node keeps it. */
function serverOf(...listed: readonly Socket[]): Server {
  return {
    [Symbol('http.server.connections')]: { idle: () => listed.map((socket) => ({ socket })) },
  } as unknown as Server;
}

test('a connection with TLS is idle where its requests are', () => {
  const [connection, secure] = [socketOf({ ...AFTER_RESPONSE, _httpMessage: undefined }), socketOf(AFTER_RESPONSE)];
  secured.set(connection, secure);
  assert.equal(idleConnections(serverOf(secure))(connection), true);
  assert.equal(idleConnections(serverOf())(connection), false);
});

test('no used connection is idle in a version of Node without its list', () => {
  const used = socketOf(AFTER_RESPONSE);
  for (const server of [{}, { [Symbol('http.server.connections')]: {} }]) {
    const isIdle = idleConnections(server as unknown as Server);
    assert.deepEqual([isIdle(used), isIdle(socketOf({ bytesRead: 0 }))], [false, true]);
  }
});
