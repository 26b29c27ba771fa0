import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex, Writable } from 'node:stream';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { RunningApp } from './app.ts';
import type { CertificateAuthority } from './certificates.ts';
import { eventually, soon } from './eventually.ts';
import { connectRaw, type RawConnection } from './http-call.ts';
import { startHttpServer } from './http-server.ts';
import { sumSamples } from './metric-samples.ts';

/** All ways in which a caller can disconnect. */
export const DISCONNECTS: readonly (readonly [way: string, leave: (socket: Socket) => void])[] = [
  ['closes its connection', (socket) => void socket.destroy()],
  ['resets its connection', (socket) => void socket.resetAndDestroy()],
  ['closes its side of the connection', (socket) => void socket.end()],
];

/** Exceeds the capacity of all sockets and buffers between a caller and a backend. */
export const FLOOD_BYTES = 64 * 1024 * 1024;

const CHUNK = Buffer.alloc(64 * 1024, 'x');

/** Sends bytes until backpressure stops the connection, or the connection closes because it has stalled for long. */
export async function flood({ socket }: RawConnection): Promise<void> {
  let sent = 0;
  const write = (): void => {
    while (sent < FLOOD_BYTES && socket.writableLength < CHUNK.length) {
      socket.write(CHUNK);
      sent += CHUNK.length;
    }
  };
  socket.on('drain', write);
  write();
  let last = -1;
  const isStuck = async (): Promise<boolean> => {
    const hasStopped = socket.destroyed || (sent === last && socket.writableLength > 0);
    last = sent;
    if (!hasStopped) await delay(200);
    return hasStopped;
  };
  await eventually('backpressure stops the flood', isStuck);
  socket.off('drain', write);
}

export function get(path: string, more = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${more}\r\n`;
}

export function post(path: string, bytes: number, body = ''): string {
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${bytes}\r\n\r\n${body}`;
}

export async function openConnection(app: Pick<RunningApp, 'url'>): Promise<RawConnection> {
  const connection = await connectRaw(app.url);
  connection.socket.allowHalfOpen = true;
  return connection;
}

/** Checks that the gauges of requests, streams, tunnels and callers' connections return to 0, and that the app stops without delay. */
export async function assertAllFinished(app: RunningApp): Promise<void> {
  const gauges = [
    ...['cambist_requests_in_flight', 'cambist_open_streams', 'cambist_open_tunnels'],
    ...(app.inbound === undefined ? [] : ['cambist_inbound_requests_in_flight', 'cambist_inbound_open_streams']),
  ];
  await eventually('every gauge is 0', async () => {
    const text = await app.metrics();
    const listeners = app.inbound === undefined ? ['listen'] : ['listen', 'inbound'];
    const connections = listeners.map((listener) => sumSamples(text, 'cambist_connections', { listener }));
    return connections.every((count) => count === 0) && gauges.every((gauge) => sumSamples(text, gauge) === 0);
  });
  await soon('the app stops', app.stop());
}

/** A caller whose requests lead to a backend of `startLeftBackend`. */
export interface LeavingCaller {
  readonly connection: RawConnection;
  send(bytes: string | Buffer): void;
  get(path?: string, more?: string): string;
  post(path: string, bytes: number, body?: string): string;
  /** An upload that no route takes. */
  refused(bytes: number): string;
  /** Settles when the backend has so many requests of this caller. */
  arrived(count?: number): Promise<void>;
}

type Reach = (caller: LeavingCaller) => Promise<void>;

export type Point = readonly [
  point: string,
  /** Brings a request to the point. */
  reach: Reach,
  /** Present if bytes that cambist does not read hide the disconnect, unless the connection is reset. */
  hidden?: 'hidden',
];

/** Buffers that do not fill in this time only make the point an easier one. */
const FILLED_MS = 300;

/** Sends, and waits until the backend has so many requests. */
const sent =
  (count: number, bytes: (caller: LeavingCaller) => string, refused = 0): Reach =>
  async (caller) => {
    caller.send(bytes(caller));
    if (refused > 0) caller.send(Buffer.alloc(refused));
    if (count > 0) await caller.arrived(count);
  };

/** Sends, and then bytes until backpressure stops the connection. On a busy machine, the connection may stall before that. */
const flooded =
  (count: number, bytes: (caller: LeavingCaller) => string): Reach =>
  async (caller) => {
    caller.send(bytes(caller));
    await flood(caller.connection);
    if (!caller.connection.socket.destroyed) await caller.arrived(count);
  };

/** Sends, and reads nothing of the response. */
const unread =
  (bytes: (caller: LeavingCaller) => string): Reach =>
  async (caller) => {
    caller.connection.socket.pause();
    await sent(1, bytes)(caller);
    await delay(FILLED_MS);
  };

/** Also waits for a text of the response. */
const until =
  (text: string, reach: Reach): Reach =>
  async (caller) => {
    await reach(caller);
    if (!caller.connection.socket.destroyed) await caller.connection.until(text);
  };

const HUGE = 2 * FLOOD_BYTES;
const PART = FLOOD_BYTES / 8;
export const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';

/** The points of a request, and of a WebSocket, at which a caller leaves. */
export const POINTS: readonly Point[] = [
  ['before its headers are complete', sent(0, ({ get }) => get().slice(0, -4))],
  ['before its small body', sent(0, ({ post }) => post('', 10))],
  ['in the middle of its small body', sent(0, ({ post }) => post('', 10, 'hello'))],
  ['in the middle of an upload', sent(1, ({ post }) => post('', FLOOD_BYTES, 'hello'))],
  [
    'in the middle of an upload that the backend does not read',
    flooded(1, ({ post }) => post('/unread', HUGE)),
    'hidden',
  ],
  [
    'in the middle of an upload that the backend does not read, while it streams its response',
    until(
      'first',
      flooded(1, ({ post }) => post('/unread/stream', HUGE)),
    ),
    'hidden',
  ],
  ['before its response', sent(1, ({ get }) => get())],
  ['before its response, with the beginning of another request sent', sent(1, ({ get }) => get() + get().slice(0, 7))],
  [
    'in the middle of its response',
    until(
      'first',
      sent(0, ({ get }) => get('/stream')),
    ),
  ],
  ['in the middle of a response that it does not read', unread(({ get }) => get('/endless'))],
  ['with two requests pipelined', sent(2, ({ get }) => get() + get())],
  ['with a refused upload behind an unanswered request', sent(1, ({ get, refused }) => get() + refused(HUGE), PART)],
  [
    'with an upload that got an early response behind an unanswered request',
    sent(2, ({ get, post }) => get() + post('/unread/early', HUGE), PART),
  ],
  [
    'with an upload that the backend does not read behind an unanswered request',
    flooded(2, ({ get, post }) => get() + post('/unread', HUGE)),
    'hidden',
  ],
  [
    'with long responses that wait behind an unanswered request',
    async (caller) => {
      await sent(2, ({ get }) => get() + get('/endless'))(caller);
      await delay(FILLED_MS);
      caller.send(caller.get());
    },
    'hidden',
  ],
  ['during its handshake', sent(1, ({ get }) => get('/silent', UPGRADE))],
  [
    'during its handshake, after early bytes',
    async (caller) => {
      await sent(1, ({ get }) => `${get('/silent', UPGRADE)}x`)(caller);
      caller.send('y');
      await delay(50);
    },
  ],
  [
    'after its WebSocket has opened',
    until(
      '101 Switching',
      sent(0, ({ get }) => get('', UPGRADE)),
    ),
  ],
  [
    'after its WebSocket has opened to a backend that keeps its side open',
    until(
      '101 Switching',
      sent(0, ({ get }) => get('/keeps', UPGRADE)),
    ),
    'hidden',
  ],
  [
    'after its WebSocket has opened and its backend has stopped reading',
    async (caller) => {
      await until(
        '101 Switching',
        sent(0, ({ get }) => get('/unread', UPGRADE)),
      )(caller);
      await flood(caller.connection);
    },
    'hidden',
  ],
  ['without reading what its WebSocket receives', unread(({ get }) => get('/endless', UPGRADE)), 'hidden'],
];

/** Writes more than the buffers of the connections can take. */
export function writeEndlessly(stream: Writable): void {
  const write = (): void => {
    while (!stream.destroyed && stream.write(Buffer.alloc(64 * 1024)));
  };
  stream.on('drain', write);
  write();
}

/** A backend that remembers which requests are open. It responds as the path says, and without such a word never. */
export async function startLeftBackend(t: TestContext, authority?: CertificateAuthority) {
  const requests: { url: string; resume(): unknown }[] = [];
  const open = new Set<string>();
  const begin = (request: IncomingMessage, ending: Duplex | ServerResponse): (() => void) => {
    const { url = '' } = request;
    const name = `${requests.push({ url, resume: () => request.resume() })} ${url}`;
    const end = (): void => void open.delete(name);
    open.add(name);
    for (const stream of [request, ending]) stream.on('error', () => {});
    ending.once('close', end);
    if (!url.includes('unread')) request.resume();
    return end;
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    begin(request, response);
    const { url = '' } = request;
    if (url.includes('early')) response.end('early');
    if (url.includes('stream')) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: first\n\n');
    }
    if (url.includes('endless')) writeEndlessly(response);
  };
  const upgrade = (request: IncomingMessage, socket: Duplex): void => {
    const end = begin(request, socket);
    const { url = '' } = request;
    requests.push({ url: '', resume: () => socket.resume() });
    socket.on('end', () => (url.includes('keeps') ? end() : socket.end()));
    if (!url.includes('silent')) {
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${UPGRADE}\r\n`);
    }
    if (!url.includes('unread')) socket.resume();
    if (url.includes('endless')) writeEndlessly(socket);
  };
  const { url, close } = await startHttpServer(onRequest, { upgrade, tls: authority?.issueServer() });
  t.after(close);
  return {
    url,
    /** Settles when it has so many requests whose path begins so. */
    arrived: (prefix: string, count = 1): Promise<void> =>
      eventually(`the backend has it: ${prefix}`, () => {
        return requests.filter(({ url }) => url.startsWith(prefix)).length === count;
      }),
    /** Settles when it has seen every request close. */
    async allClosed(): Promise<void> {
      // A connection whose reading is paused does not show the disconnect.
      for (const request of requests) request.resume();
      await eventually('the backend sees each request close', () => open.size === 0).catch(() => {});
      assert.deepEqual([...open], []);
    },
  };
}
