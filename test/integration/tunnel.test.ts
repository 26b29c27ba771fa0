import assert from 'node:assert/strict';
import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { assertAllFinished, DISCONNECTS } from '../harness/disconnects.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { connectRaw } from '../harness/http-call.ts';
import { listen } from '../harness/http-server.ts';
import { sumSamples } from '../harness/metric-samples.ts';

/** A tunnel to a server with the given behaviour, and the client at its other side. */
async function startTunnel(t: TestContext, serve: (socket: Socket) => void, top: Record<string, unknown> = {}) {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    sockets.push(socket);
    serve(socket);
  });
  const { port } = await listen(server);
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const authority = `127.0.0.1:${port}`;
  const app = await startTestApp(t, {
    routes: [{ name: 'r', match: { host: 'r.svc' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
    forward_proxy: { connect: [authority] },
    ...top,
  });
  const client = await connectRaw(app.url);
  client.send(`CONNECT ${authority} HTTP/1.1\r\n\r\n`);
  await soon('the tunnel opens', client.until('Established\r\n\r\n'));
  await eventually('the server has the connection', () => sockets.length === 1);
  return { app, client, authority, server: sockets[0] as Socket };
}

test("forwards the client's half-close to the server, and still returns data from the server", async (t) => {
  const { client } = await startTunnel(t, (socket) => {
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    socket.on('end', () => setTimeout(() => socket.end(`got ${text}`), 50));
  });
  client.send('hello');
  client.socket.end();
  assert.match(await soon('the response', client.closed()), /\r\n\r\ngot hello$/);
});

test("forwards the server's half-close to the client, and still forwards data from the client", async (t) => {
  let text = '';
  const { client, server } = await startTunnel(t, (socket) => {
    socket.on('data', (chunk) => {
      text += chunk;
    });
  });
  await client.until('Established');
  client.socket.allowHalfOpen = true;
  server.end('first');
  await client.until('first');
  await new Promise((resolve) => client.socket.once('end', resolve));
  client.send('later');
  client.socket.end();
  await new Promise((resolve) => server.once('end', resolve));
  assert.equal(text, 'later');
});

test('forwards a reset by the server to the client, and the reverse', async (t) => {
  const one = await startTunnel(t, () => {});
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => one.client.socket.once('error', resolve));
  one.server.resetAndDestroy();
  assert.equal((await soon('the reset', failed)).code, 'ECONNRESET');
  const other = await startTunnel(t, () => {});
  const gone = new Promise((resolve) => other.server.once('close', resolve));
  other.client.socket.resetAndDestroy();
  await soon('the server sees the connection close', gone);
});

for (const [way, leave] of DISCONNECTS) {
  test(`keeps nothing in flight for a client that ${way}`, async (t) => {
    const { app, client, server } = await startTunnel(t, (socket) => {
      socket.resume().once('end', () => socket.end());
    });
    const gone = new Promise((resolve) => server.once('close', resolve));
    leave(client.socket);
    await assertAllFinished(app);
    await soon('the server sees the connection close', gone);
  });
}

test('pauses the client while the server does not read', async (t) => {
  const { client } = await startTunnel(t, (socket) => socket.pause());
  let sent = 0;
  const chunk = Buffer.alloc(256 * 1024);
  while (sent < 100_000_000 && client.socket.write(chunk)) sent += chunk.length;
  for (let quiet = 0; quiet < 5 && sent < 100_000_000; quiet += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    while (client.socket.writableLength === 0 && sent < 100_000_000) {
      client.socket.write(chunk);
      sent += chunk.length;
      quiet = 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  assert.ok(sent < 60_000_000, `${sent} bytes went into a tunnel that the server does not read`);
});

test('closes the tunnel to a host that gets a route in a reload, and no other', async (t) => {
  const { app, client, authority, server } = await startTunnel(t, (socket) => socket.pipe(socket));
  const route = { name: 'r', upstream: 'http://127.0.0.1:1', credential: 'none' };
  const allowed = { forward_proxy: { connect: [authority] } };
  app.reloadTo({ ...allowed, routes: [{ ...route, match: { host: '127.0.0.2' } }] });
  client.send('still open');
  await soon('data passes', client.until('still open'));
  app.reloadTo({ ...allowed, routes: [{ ...route, match: { host: '127.0.0.1' } }] });
  await soon('the client sees the connection close', client.closed());
  await eventually('the server sees the connection close', () => server.destroyed);
  assert.match(app.logText(), /closed 1 tunnels to hosts that have a route now/);
  await eventually(
    'no tunnel is counted',
    async () => sumSamples(await app.metrics(), 'cambist_open_tunnels', {}) === 0,
  );
});

test('keeps an open tunnel during shutdown, and closes it when the grace elapses', async (t) => {
  const { app, client, server } = await startTunnel(t, (socket) => socket.pipe(socket), {
    limits: { shutdown_grace: '400ms' },
  });
  const stopped = app.stop();
  client.send('ping');
  await soon('data passes', client.until('ping'));
  await soon('the app has stopped', stopped);
  await soon('the client sees the connection close', client.closed());
  await eventually('the server sees the connection close', () => server.destroyed || server.readableEnded);
});

test('stops at once if no request is in flight inside a CONNECT', async (t) => {
  const app = await startTestApp(t, {
    routes: [{ name: 'r', match: { host: 'r.svc' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  const idle = await connectRaw(app.url);
  idle.send('CONNECT r.svc:80 HTTP/1.1\r\n\r\n');
  await idle.until('Established');
  const used = await connectRaw(app.url);
  used.send('CONNECT r.svc:80 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nHost: r.svc\r\n\r\n');
  await used.until('ERR_UPSTREAM_UNREACHABLE');
  await soon('the app has stopped', app.stop());
  await soon('the clients see their connections close', Promise.all([idle.closed(), used.closed()]));
});

test('opens no tunnel beyond max_in_flight or during shutdown', async (t) => {
  const limits = { max_in_flight: 1, shutdown_grace: '2s' };
  const { app, authority } = await startTunnel(t, () => {}, { limits });
  const responseTo = async (target: string): Promise<string> => {
    const connection = await connectRaw(app.url);
    connection.send(`CONNECT ${target} HTTP/1.1\r\n\r\n`);
    return soon('the response', connection.closed());
  };
  assert.match(await responseTo(authority), /^HTTP\/1\.1 503 [\s\S]*ERR_OVERLOADED/);
  const idle = await Promise.all([connectRaw(app.url), connectRaw(app.url)]);
  const stopped = app.stop();
  await eventually('requests are refused', () => app.logText().includes('draining requests in flight'));
  for (const [index, target] of ['r.svc:80', authority].entries()) {
    idle[index]?.send(`CONNECT ${target} HTTP/1.1\r\n\r\n`);
    assert.match(
      await soon('the response', idle[index]?.closed() ?? Promise.resolve('')),
      /^HTTP\/1\.1 503 [\s\S]*ERR_SHUTTING_DOWN/,
    );
  }
  await soon('the app has stopped', stopped);
});
