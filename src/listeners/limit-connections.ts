import type { Server as HttpServer } from 'node:http';
import type { Server, Socket } from 'node:net';
import { idleConnections, incompleteConnections } from './idle-connection.ts';

export interface ConnectionLimit {
  readonly counts: { readonly open: number; readonly dropped: number };
}

export interface ConnectionLimitOptions {
  readonly max: () => number;
  /** The server that speaks HTTP/1.1, or which connections may be closed: those of the first kind first. */
  readonly http: HttpServer | (() => readonly ((connection: Socket) => boolean)[]);
  /** Called at most every ten seconds, with the number of connections dropped since the last call. */
  readonly onDropped: (count: number) => void;
}

/** Pause between two scans, for each open connection. A scan takes less than a tenth of it, also during a flood of connections. */
const PAUSE_MS = 0.01;

/**
 * Bounds the connections of a server whose requests may be long. A new connection takes the place of an idle one, so that clients
 * which hold connections that they do not use cannot keep others out. If none is idle, it takes the place of one whose request
 * is incomplete. While all are busy, the new one is closed.
 *
 * Requests cost nothing. At the limit, a scan of all connections finds the idle ones. A new connection then replaces the first of
 * them that has received nothing since. The next scan follows when none of them is left. Connections that came after the last scan
 * give way last: several arrive at a time, and none of them can have sent anything.
 */
export function limitConnections(server: Server, { max, http, onDropped }: ConnectionLimitOptions): ConnectionLimit {
  const open = new Set<Socket>();
  const { counts, countDrop } = countConnections(open, onDropped);
  /** The connections that the last scan found idle or incomplete, and the bytes that each had received. */
  const seenIdle = new Map<Socket, number>();
  /** Those that came after it, which had received none. */
  const recent = new Map<Socket, number>();
  let nextScanMs = 0;

  function scan(): void {
    recent.clear();
    const kinds = typeof http === 'function' ? http() : [idleConnections(http), incompleteConnections(http)];
    for (const mayGo of kinds) {
      for (const socket of open) {
        if (mayGo(socket)) seenIdle.set(socket, socket.bytesRead);
      }
    }
  }

  function nextToDrop(): Socket | undefined {
    const unused = takeUnused(seenIdle);
    if (unused !== undefined) return unused;
    const nowMs = performance.now();
    if (nowMs >= nextScanMs) {
      nextScanMs = nowMs + open.size * PAUSE_MS;
      scan();
    }
    return takeUnused(seenIdle) ?? takeUnused(recent);
  }

  function forget(socket: Socket): void {
    open.delete(socket);
    seenIdle.delete(socket);
    recent.delete(socket);
  }

  function drop(socket: Socket): void {
    forget(socket);
    socket.destroy();
    countDrop();
  }

  server.on('connection', (socket) => {
    // The server gets a connection again when CONNECT leads back into it, or once its TLS is terminated.
    if (open.has(socket) || socket.destroyed || 'encrypted' in socket) return;
    while (open.size >= max()) {
      const idle = nextToDrop();
      drop(idle ?? socket);
      if (idle === undefined) return;
    }
    open.add(socket);
    recent.set(socket, 0);
    socket.once('close', () => forget(socket));
  });
  return { counts };
}

/** Takes the first connection that has received nothing since. @param bytes that each had received */
function takeUnused(bytes: Map<Socket, number>): Socket | undefined {
  for (const [socket, received] of bytes) {
    bytes.delete(socket);
    if (socket.bytesRead === received) return socket;
  }
  return undefined;
}

/**
 * Bounds the connections of a server whose requests are short. A new connection takes the place of the oldest one, so that
 * clients which send nothing cannot keep others out. Connections whose request is complete go last, up to half of all.
 * @param onDropped called at most every ten seconds, with the number of connections dropped since the last call
 */
export function displaceConnections(
  server: HttpServer,
  max: number,
  onDropped: (count: number) => void,
): ConnectionLimit {
  /** The oldest first. */
  const open = new Set<Socket>();
  /** The connections whose request is complete and whose response is not, in the order of their requests. */
  const busy = new Set<Socket>();
  const { counts, countDrop } = countConnections(open, onDropped);

  function drop(socket: Socket): void {
    open.delete(socket);
    busy.delete(socket);
    socket.destroy();
    countDrop();
  }

  /** More busy connections than half would push out new clients before these can send a request. */
  function nextToDrop(): Socket | undefined {
    const [oldestBusy] = busy;
    return busy.size > max / 2 ? oldestBusy : [...open].find((socket) => !busy.has(socket));
  }

  server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    if (open.size > max) drop(nextToDrop() ?? socket);
  });
  /** With TLS, the socket of a request is another object than that of its connection, and has the same peer. */
  function connectionOf(socket: Socket): Socket | undefined {
    if (open.has(socket)) return socket;
    const { remoteAddress, remotePort } = socket;
    return [...open].find((one) => one.remotePort === remotePort && one.remoteAddress === remoteAddress);
  }

  server.on('request', (request, response) => {
    const socket = connectionOf(request.socket);
    if (socket === undefined) return;
    request.once('end', () => open.has(socket) && busy.add(socket));
    response.once('close', () => busy.delete(socket));
  });
  return { counts };
}

/** Shortest interval between two log lines about dropped connections. */
const LOG_INTERVAL_MS = 10_000;

function countConnections(open: ReadonlySet<Socket>, onDropped: (count: number) => void) {
  let dropped = 0;
  let reported = 0;
  let nextReportMs = 0;
  const counts = {
    get open() {
      return open.size;
    },
    get dropped() {
      return dropped;
    },
  };
  function countDrop(): void {
    dropped += 1;
    const nowMs = performance.now();
    if (nowMs < nextReportMs) return;
    nextReportMs = nowMs + LOG_INTERVAL_MS;
    onDropped(dropped - reported);
    reported = dropped;
  }
  return { counts, countDrop };
}
