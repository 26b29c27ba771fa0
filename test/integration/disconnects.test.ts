import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { type TestContext, test } from 'node:test';
import {
  assertAllFinished,
  DISCONNECTS,
  FLOOD_BYTES,
  flood,
  get,
  openConnection,
  post,
} from '../harness/disconnects.ts';
import { eventually, soon } from '../harness/eventually.ts';
import type { RawConnection } from '../harness/http-call.ts';
import { startHttp2Gateway } from '../harness/http2-gateway.ts';

/** Bytes that cambist does not read hide the disconnect. Only this timeout ends the request. */
const HIDDEN = { stall: '1s' };
const SEEN = { stall: '1h' };

interface Backend {
  /** Requests that the backend has received. */
  readonly requests: Http2ServerRequest[];
  /** Settles when the backend has seen every request close. */
  allGone(): Promise<unknown>;
}

type Point = readonly [
  point: string,
  /** Brings a request to the point. */
  reach: (connection: RawConnection, backend: Backend) => Promise<void>,
  /** Present if bytes that cambist does not read hide the disconnect, unless the connection is reset. */
  hidden?: 'hidden',
];

async function arrived(backend: Backend, count = 1): Promise<void> {
  await eventually('the backend has the request', () => backend.requests.length === count);
}

/** The path decides how the backend behaves. */
function behave(request: Http2ServerRequest, response: Http2ServerResponse): void {
  const { url = '' } = request;
  if (!url.includes('unread')) request.resume();
  if (url.includes('early')) response.end('early');
  if (url.includes('stream')) {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: first\n\n');
  }
  if (url.includes('endless')) {
    const write = (): void => {
      while (!response.destroyed && !response.stream?.destroyed && response.write(Buffer.alloc(64 * 1024)));
    };
    response.on('drain', write);
    write();
  }
}

const POINTS: readonly Point[] = [
  [
    'before its headers are complete',
    async (connection) => {
      connection.send('GET /github HTTP/1.1\r\nHost: h');
    },
  ],
  [
    'before its small body',
    async (connection) => {
      connection.send(post('/github', 10));
    },
  ],
  [
    'in the middle of its small body',
    async (connection) => {
      connection.send(post('/github', 10, 'hello'));
    },
  ],
  [
    'in the middle of an upload',
    async (connection, backend) => {
      connection.send(post('/github', FLOOD_BYTES, 'hello'));
      await arrived(backend);
    },
  ],
  [
    'in the middle of an upload that the backend does not read',
    async (connection, backend) => {
      connection.send(post('/github/unread', 2 * FLOOD_BYTES));
      await flood(connection);
      await arrived(backend);
    },
    'hidden',
  ],
  [
    'in the middle of an upload that the backend does not read, while it streams its response',
    async (connection, backend) => {
      connection.send(post('/github/unread/stream', 2 * FLOOD_BYTES));
      await flood(connection);
      await arrived(backend);
      await connection.until('first');
    },
    'hidden',
  ],
  [
    'before its response',
    async (connection, backend) => {
      connection.send(get('/github'));
      await arrived(backend);
    },
  ],
  [
    'before its response, with the beginning of another request sent',
    async (connection, backend) => {
      connection.send(get('/github'));
      connection.send('GET /gi');
      await arrived(backend);
    },
  ],
  [
    'in the middle of its response',
    async (connection) => {
      connection.send(get('/github/stream'));
      await connection.until('first');
    },
  ],
  [
    'in the middle of a response that it does not read',
    async (connection, backend) => {
      connection.socket.pause();
      connection.send(get('/github/endless'));
      await arrived(backend);
      await new Promise((resolve) => setTimeout(resolve, 300));
    },
  ],
  [
    'with two requests pipelined',
    async (connection, backend) => {
      connection.send(get('/github') + get('/github'));
      await arrived(backend, 2);
    },
  ],
  [
    'with a refused upload behind an unanswered request',
    async (connection, backend) => {
      connection.send(get('/github') + post('/elsewhere', 2 * FLOOD_BYTES));
      connection.send(Buffer.alloc(FLOOD_BYTES / 8));
      await arrived(backend);
    },
  ],
  [
    'with an upload that got an early response behind an unanswered request',
    async (connection, backend) => {
      connection.send(get('/github') + post('/github/unread/early', 2 * FLOOD_BYTES));
      connection.send(Buffer.alloc(FLOOD_BYTES / 8));
      await arrived(backend, 2);
    },
  ],
  [
    'with an upload that the backend does not read behind an unanswered request',
    async (connection, backend) => {
      connection.send(get('/github') + post('/github/unread', 2 * FLOOD_BYTES));
      await flood(connection);
      await arrived(backend, 2);
    },
    'hidden',
  ],
  [
    'with long responses that wait behind an unanswered request',
    async (connection, backend) => {
      connection.send(get('/github') + get('/github/endless'));
      await arrived(backend, 2);
      await new Promise((resolve) => setTimeout(resolve, 300));
      connection.send(get('/github'));
    },
    'hidden',
  ],
];

async function startBackend(t: TestContext, http2: boolean, timeouts: { stall: string }) {
  const ends: Promise<void>[] = [];
  const keys = { http2, credential: 'none', timeouts };
  const top = { limits: { shutdown_grace: '15s' } };
  const { app, state } = await startHttp2Gateway(
    t,
    (request, response) => {
      ends.push(new Promise((resolve) => response.once('close', resolve)));
      behave(request, response);
    },
    keys,
    {},
    top,
  );
  const backend: Backend = {
    requests: state.requests,
    allGone: () => {
      // A connection whose reading is paused does not show the disconnect to the backend either.
      for (const request of state.requests) request.resume();
      return Promise.all(ends);
    },
  };
  return { app, backend };
}

for (const http2 of [false, true]) {
  for (const [point, reach, hidden] of POINTS) {
    for (const [way, leave] of DISCONNECTS) {
      test(`keeps nothing in flight over HTTP/${http2 ? 2 : 1} for a caller that ${way} ${point}`, async (t) => {
        const timeouts = hidden !== undefined && !way.includes('resets') ? HIDDEN : SEEN;
        const { app, backend } = await startBackend(t, http2, timeouts);
        const connection = await openConnection(app);
        t.after(() => connection.socket.destroy());
        await reach(connection, backend);
        leave(connection.socket);
        await assertAllFinished(app);
        await soon('the backend sees each request close', backend.allGone());
      });
    }
  }
}
