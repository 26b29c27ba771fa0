import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { RunningApp } from './app.ts';
import { eventually, soon } from './eventually.ts';
import { connectRaw, type RawConnection } from './http-call.ts';
import { sumSamples } from './metric-samples.ts';

/** All ways in which a caller can disconnect. */
export const DISCONNECTS: readonly (readonly [way: string, leave: (socket: Socket) => void])[] = [
  ['closes its connection', (socket) => void socket.destroy()],
  ['resets its connection', (socket) => void socket.resetAndDestroy()],
  ['closes its side of the connection', (socket) => void socket.end()],
];

/** Exceeds the capacity of all sockets and buffers between a caller and a backend. */
export const FLOOD_BYTES = 64 * 1024 * 1024;

/** Buffers fill slowly on a busy machine, above all with TLS. */
const FLOOD_MS = 20_000;

const CHUNK = Buffer.alloc(64 * 1024, 'x');

/** Sends bytes until backpressure stops the connection. */
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
    const hasStopped = sent === last && socket.writableLength > 0;
    last = sent;
    if (!hasStopped) await delay(200);
    return hasStopped;
  };
  await eventually('backpressure stops the flood', isStuck, FLOOD_MS);
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
export async function assertAllFinished(app: RunningApp, limitMs?: number): Promise<void> {
  const gauges = [
    ...['cambist_requests_in_flight', 'cambist_open_streams', 'cambist_open_tunnels'],
    ...(app.inbound === undefined ? [] : ['cambist_inbound_requests_in_flight', 'cambist_inbound_open_streams']),
  ];
  await eventually(
    'every gauge is 0',
    async () => {
      const text = await app.metrics();
      const listeners = app.inbound === undefined ? ['listen'] : ['listen', 'inbound'];
      const connections = listeners.map((listener) => sumSamples(text, 'cambist_connections', { listener }));
      return connections.every((count) => count === 0) && gauges.every((gauge) => sumSamples(text, gauge) === 0);
    },
    limitMs,
  );
  await soon('the app stops', app.stop());
}
