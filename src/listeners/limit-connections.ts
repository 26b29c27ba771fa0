import type { Server as HttpServer } from 'node:http';
import type { Server, Socket } from 'node:net';
import { createDropCount } from './drop-count.ts';
import { idleConnections, incompleteConnections } from './idle-connection.ts';

export interface ConnectionLimit {
  readonly counts: { readonly open: number; readonly dropped: number };
}

export interface ConnectionLimitOptions {
  /** Returns the limit of the active config. */
  readonly max: () => number;
  /** Reads the requests of the connections. */
  readonly http: HttpServer;
  /** Called at most every ten seconds, with the number of connections dropped since the last call. */
  readonly onDropped: (count: number) => void;
}

/** Pause between two looks, for each open connection. A look takes less than a tenth of it, also during a flood of connections. */
const PAUSE_MS = 0.01;

/**
 * Bounds the connections of a server whose requests may be long. A new connection takes the place of an idle one, so that clients
 * which hold connections that they do not use cannot keep others out. If none is idle, it takes the place of one whose request
 * is incomplete. While all are busy, the new one is closed.
 *
 * Requests cost nothing. At the limit, a look at all connections finds the idle ones. A new connection then replaces the first of
 * them that has received nothing since. The next look follows when none of them is left.
 */
export function limitConnections(server: Server, { max, http, onDropped }: ConnectionLimitOptions): ConnectionLimit {
  const drops = createDropCount(onDropped);
  const open = new Set<Socket>();
  /**
   * The connections that the last look found idle or incomplete, and the bytes that each had received. A new one has received
   * none.
   */
  const seenIdle = new Map<Socket, number>();
  let nextLookMs = 0;

  function look(): void {
    for (const mayGo of [idleConnections(http), incompleteConnections(http)]) {
      for (const socket of open) {
        if (mayGo(socket)) seenIdle.set(socket, socket.bytesRead);
      }
    }
  }

  function takeUnused(): Socket | undefined {
    for (const [socket, received] of seenIdle) {
      seenIdle.delete(socket);
      if (socket.bytesRead === received) return socket;
    }
    return undefined;
  }

  function nextToDrop(): Socket | undefined {
    const unused = takeUnused();
    const nowMs = performance.now();
    if (unused !== undefined || nowMs < nextLookMs) return unused;
    nextLookMs = nowMs + open.size * PAUSE_MS;
    look();
    return takeUnused();
  }

  function forget(socket: Socket): void {
    open.delete(socket);
    seenIdle.delete(socket);
  }

  function drop(socket: Socket): void {
    forget(socket);
    socket.destroy();
    drops.add();
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
    seenIdle.set(socket, 0);
    socket.once('close', () => forget(socket));
  });
  return {
    counts: {
      get open() {
        return open.size;
      },
      get dropped() {
        return drops.dropped;
      },
    },
  };
}
