import type { Server, Socket } from 'node:net';
import { createDropCount } from './drop-count.ts';

export interface ConnectionLimit {
  readonly counts: { readonly open: number; readonly dropped: number };
  /** Applies to the next connections. Open ones stay. */
  set(max: number): void;
}

/**
 * Bounds the connections of a server. Node closes every further connection before it reads from it.
 * @param onDropped called at most every ten seconds, with the number of connections dropped since the last call
 */
export function limitConnections(server: Server, max: number, onDropped: (count: number) => void): ConnectionLimit {
  const drops = createDropCount(onDropped);
  let open = 0;
  const counted = new WeakSet<Socket>();
  server.maxConnections = max;
  server.on('connection', (socket) => {
    // The server gets a connection again when CONNECT leads back into it, or once its TLS is terminated.
    if (counted.has(socket) || 'encrypted' in socket) return;
    counted.add(socket);
    open += 1;
    socket.once('close', () => {
      open -= 1;
    });
  });
  server.on('drop', () => drops.add());
  return {
    counts: {
      get open() {
        return open;
      },
      get dropped() {
        return drops.dropped;
      },
    },
    set(next) {
      server.maxConnections = next;
    },
  };
}
