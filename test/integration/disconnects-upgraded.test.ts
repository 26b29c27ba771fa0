import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { assertAllFinished, DISCONNECTS, flood, get, openConnection } from '../harness/disconnects.ts';
import { eventually, soon } from '../harness/eventually.ts';
import type { RawConnection } from '../harness/http-call.ts';
import { closeServer, listen } from '../harness/http-server.ts';

const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';
const SWITCHED = `HTTP/1.1 101 Switching Protocols\r\n${UPGRADE}\r\n`;

type Act = (connection: RawConnection, backend: () => Promise<Socket>, authority: string) => Promise<void>;

async function openWebSocket({ send, until }: RawConnection, backend: () => Promise<Socket>): Promise<Socket> {
  send(get('/ws', UPGRADE));
  const socket = await backend();
  socket.write(SWITCHED);
  await until('101 Switching');
  return socket;
}

async function openTunnel({ send, until }: RawConnection, backend: () => Promise<Socket>, authority: string) {
  send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  await until('Established');
  return backend();
}

/** The points at which a caller disconnects. */
const POINTS: readonly (readonly [point: string, reach: Act])[] = [
  [
    'during its handshake',
    async ({ send }, backend) => {
      send(get('/ws', UPGRADE));
      await backend();
    },
  ],
  [
    'during its handshake, after an early byte',
    async ({ send }, backend) => {
      send(`${get('/ws', UPGRADE)}x`);
      await backend();
      send('y');
      await new Promise((resolve) => setTimeout(resolve, 50));
    },
  ],
  [
    'after its WebSocket has opened',
    async (connection, backend) => {
      await openWebSocket(connection, backend);
    },
  ],
  [
    'after its WebSocket has opened and its backend has stopped reading',
    async (connection, backend) => {
      (await openWebSocket(connection, backend)).pause();
      await flood(connection);
    },
  ],
  [
    'after its tunnel has opened',
    async (connection, backend, authority) => {
      const socket = await openTunnel(connection, backend, authority);
      socket.once('end', () => socket.end());
    },
  ],
];

/** A backend that keeps its side of each connection open. */
async function startBackend(t: TestContext) {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.on('data', () => {});
    sockets.push(socket);
  });
  const { port } = await listen(server);
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return closeServer(server);
  });
  return {
    port,
    sockets,
    async backend(): Promise<Socket> {
      await eventually('the backend has the request', () => sockets.length === 1);
      return sockets[0] as Socket;
    },
  };
}

for (const [point, reach] of POINTS) {
  for (const [way, leave] of DISCONNECTS) {
    test(`keeps nothing in flight for a caller that ${way} ${point}`, async (t) => {
      const { port, sockets, backend } = await startBackend(t);
      const authority = `127.0.0.1:${port}`;
      const upstream = `http://${authority}`;
      const app = await startTestApp(t, {
        limits: { shutdown_grace: '15s' },
        forward_proxy: { connect: [authority] },
        routes: [{ name: 'ws', match: { path: '/ws' }, upstream, credential: 'none', timeouts: { stall: '1s' } }],
      });
      const connection = await openConnection(app);
      t.after(() => connection.socket.destroy());
      await reach(connection, backend, authority);
      leave(connection.socket);
      await assertAllFinished(app);
      const [socket] = sockets as [Socket];
      socket.resume();
      await soon(
        'the backend sees the connection close',
        new Promise((resolve) =>
          socket.readableEnded || socket.destroyed ? resolve(0) : socket.once('end', resolve).once('close', resolve),
        ),
      );
    });
  }
}
