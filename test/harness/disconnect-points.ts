import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { FLOOD_BYTES, flood } from './disconnects.ts';
import type { RawConnection } from './http-call.ts';

/** A caller whose requests lead to a backend of the test. `behave` interprets the paths. */
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

export type Point = readonly [
  point: string,
  /** Brings a request to the point. */
  reach: (caller: LeavingCaller) => Promise<void>,
  /** Present if bytes that cambist does not read hide the disconnect, unless the connection is reset. */
  hidden?: 'hidden',
];

interface BackendRequest {
  readonly url?: string | undefined;
  resume(): unknown;
}

interface BackendResponse {
  readonly destroyed: boolean;
  end(body: string): unknown;
  writeHead(status: number, headers: Record<string, string>): unknown;
  write(bytes: string | Buffer): boolean;
  on(event: 'drain', listener: () => void): unknown;
}

/** Responds as the path says. Without such a word, it never responds. */
export function behave(request: BackendRequest, response: BackendResponse): void {
  const { url = '' } = request;
  if (!url.includes('unread')) request.resume();
  if (url.includes('early')) response.end('early');
  if (url.includes('stream')) {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: first\n\n');
  }
  if (url.includes('endless')) {
    const write = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(64 * 1024)));
    };
    response.on('drain', write);
    write();
  }
}

/** The points of a request at which a caller leaves. */
export const POINTS: readonly Point[] = [
  [
    'before its headers are complete',
    async (caller) => {
      caller.send(caller.get().slice(0, -4));
    },
  ],
  [
    'before its small body',
    async (caller) => {
      caller.send(caller.post('', 10));
    },
  ],
  [
    'in the middle of its small body',
    async (caller) => {
      caller.send(caller.post('', 10, 'hello'));
    },
  ],
  [
    'in the middle of an upload',
    async (caller) => {
      caller.send(caller.post('', FLOOD_BYTES, 'hello'));
      await caller.arrived();
    },
  ],
  [
    'in the middle of an upload that the backend does not read',
    async (caller) => {
      caller.send(caller.post('/unread', 2 * FLOOD_BYTES));
      await flood(caller.connection);
      await caller.arrived();
    },
    'hidden',
  ],
  [
    'in the middle of an upload that the backend does not read, while it streams its response',
    async (caller) => {
      caller.send(caller.post('/unread/stream', 2 * FLOOD_BYTES));
      await flood(caller.connection);
      await caller.arrived();
      await caller.connection.until('first');
    },
    'hidden',
  ],
  [
    'before its response',
    async (caller) => {
      caller.send(caller.get());
      await caller.arrived();
    },
  ],
  [
    'before its response, with the beginning of another request sent',
    async (caller) => {
      caller.send(caller.get());
      caller.send(caller.get().slice(0, 7));
      await caller.arrived();
    },
  ],
  [
    'in the middle of its response',
    async (caller) => {
      caller.send(caller.get('/stream'));
      await caller.connection.until('first');
    },
  ],
  [
    'in the middle of a response that it does not read',
    async (caller) => {
      caller.connection.socket.pause();
      caller.send(caller.get('/endless'));
      await caller.arrived();
      await delay(300);
    },
  ],
  [
    'with two requests pipelined',
    async (caller) => {
      caller.send(caller.get() + caller.get());
      await caller.arrived(2);
    },
  ],
  [
    'with a refused upload behind an unanswered request',
    async (caller) => {
      caller.send(caller.get() + caller.refused(2 * FLOOD_BYTES));
      caller.send(Buffer.alloc(FLOOD_BYTES / 8));
      await caller.arrived();
    },
  ],
  [
    'with an upload that got an early response behind an unanswered request',
    async (caller) => {
      caller.send(caller.get() + caller.post('/unread/early', 2 * FLOOD_BYTES));
      caller.send(Buffer.alloc(FLOOD_BYTES / 8));
      await caller.arrived(2);
    },
  ],
  [
    'with an upload that the backend does not read behind an unanswered request',
    async (caller) => {
      caller.send(caller.get() + caller.post('/unread', 2 * FLOOD_BYTES));
      await flood(caller.connection);
      await caller.arrived(2);
    },
    'hidden',
  ],
  [
    'with long responses that wait behind an unanswered request',
    async (caller) => {
      caller.send(caller.get() + caller.get('/endless'));
      await caller.arrived(2);
      await delay(300);
      caller.send(caller.get());
    },
    'hidden',
  ],
];

const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';
const SWITCHED = `HTTP/1.1 101 Switching Protocols\r\n${UPGRADE}\r\n`;

/** Responds to a WebSocket handshake as the path says. */
export function behaveUpgraded({ url = '' }: { readonly url?: string | undefined }, socket: Duplex): void {
  if (url.includes('silent')) return void socket.resume();
  socket.write(SWITCHED);
  if (!url.includes('unread')) socket.resume();
  if (!url.includes('endless')) return;
  const write = (): void => {
    while (!socket.destroyed && socket.write(Buffer.alloc(64 * 1024)));
  };
  socket.on('drain', write);
  write();
}

/** The points of a WebSocket at which a caller leaves. */
export const UPGRADE_POINTS: readonly Point[] = [
  [
    'during its handshake',
    async (caller) => {
      caller.send(caller.get('/silent', UPGRADE));
      await caller.arrived();
    },
  ],
  [
    'during its handshake, after early bytes',
    async (caller) => {
      caller.send(`${caller.get('/silent', UPGRADE)}x`);
      await caller.arrived();
      caller.send('y');
      await delay(50);
    },
  ],
  [
    'after its WebSocket has opened',
    async (caller) => {
      caller.send(caller.get('', UPGRADE));
      await caller.connection.until('101 Switching');
    },
  ],
  [
    'after its WebSocket has opened and its backend has stopped reading',
    async (caller) => {
      caller.send(caller.get('/unread', UPGRADE));
      await caller.connection.until('101 Switching');
      await flood(caller.connection);
    },
    'hidden',
  ],
  [
    'without reading what its WebSocket receives',
    async (caller) => {
      caller.connection.socket.pause();
      caller.send(caller.get('/endless', UPGRADE));
      await caller.arrived();
      await delay(300);
    },
    'hidden',
  ],
];
