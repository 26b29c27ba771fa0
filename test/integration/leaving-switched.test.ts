import { createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { eventually, soon } from '../harness/eventually.ts';
import type { RawConnection } from '../harness/http-call.ts';
import { closeServer, listen } from '../harness/http-server.ts';
import { assertAllEnded, flood, get, openConnection, WAYS_TO_LEAVE } from '../harness/ways-to-leave.ts';

const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';
const SWITCHED = `HTTP/1.1 101 Switching Protocols\r\n${UPGRADE}\r\n`;

type Act = (connection: RawConnection, far: () => Promise<Socket>, authority: string) => Promise<void>;

async function openWebSocket({ send, until }: RawConnection, far: () => Promise<Socket>): Promise<Socket> {
  send(get('/ws', UPGRADE));
  const backend = await far();
  backend.write(SWITCHED);
  await until('101 Switching');
  return backend;
}

async function openTunnel({ send, until }: RawConnection, far: () => Promise<Socket>, authority: string) {
  send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`);
  await until('Established');
  return far();
}

/** Each point at which a caller leaves. */
const POINTS: readonly (readonly [point: string, reach: Act])[] = [
  [
    'during its handshake',
    async ({ send }, far) => {
      send(get('/ws', UPGRADE));
      await far();
    },
  ],
  [
    'during its handshake, after an early byte',
    async ({ send }, far) => {
      send(`${get('/ws', UPGRADE)}x`);
      await far();
      send('y');
      await new Promise((resolve) => setTimeout(resolve, 50));
    },
  ],
  [
    'after its WebSocket has opened',
    async (connection, far) => {
      await openWebSocket(connection, far);
    },
  ],
  [
    'after its WebSocket has opened and its backend has stopped reading',
    async (connection, far) => {
      (await openWebSocket(connection, far)).pause();
      await flood(connection);
    },
  ],
  [
    'after its tunnel has opened',
    async (connection, far, authority) => {
      const backend = await openTunnel(connection, far, authority);
      backend.once('end', () => backend.end());
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
    async far(): Promise<Socket> {
      await eventually('the request is upstream', () => sockets.length === 1);
      return sockets[0] as Socket;
    },
  };
}

for (const [point, reach] of POINTS) {
  for (const [way, leave] of WAYS_TO_LEAVE) {
    test(`a caller that ${way} ${point} leaves nothing in flight`, async (t) => {
      const { port, sockets, far } = await startBackend(t);
      const authority = `127.0.0.1:${port}`;
      const upstream = `http://${authority}`;
      const app = await startTestApp(t, {
        limits: { shutdown_grace: '15s' },
        forward_proxy: { connect: [authority] },
        routes: [{ name: 'ws', match: { path: '/ws' }, upstream, credential: 'none', timeouts: { stall: '1s' } }],
      });
      const connection = await openConnection(app);
      t.after(() => connection.socket.destroy());
      await reach(connection, far, authority);
      leave(connection.socket);
      await assertAllEnded(app);
      const [backend] = sockets as [Socket];
      backend.resume();
      await soon(
        'the backend sees the end',
        new Promise((resolve) =>
          backend.readableEnded || backend.destroyed ? resolve(0) : backend.once('end', resolve).once('close', resolve),
        ),
      );
    });
  }
}
