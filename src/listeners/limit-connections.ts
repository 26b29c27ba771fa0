import type { Server, Socket } from 'node:net';

export interface ConnectionLimit {
  readonly counts: { readonly open: number; readonly dropped: number };
  /** Applies to the next connections. Open ones stay. */
  set(max: number): void;
}

/** Shortest interval between two log lines about dropped connections. */
const LOG_INTERVAL_MS = 10_000;

/**
 * Bounds the connections of a server. Node closes every further connection before it reads from it.
 * @param onDropped called at most every ten seconds, with the number of connections dropped since the last call
 */
export function limitConnections(server: Server, max: number, onDropped: (count: number) => void): ConnectionLimit {
  const counts = { open: 0, dropped: 0 };
  const counted = new WeakSet<Socket>();
  let reported = 0;
  let nextReportMs = 0;
  server.maxConnections = max;
  server.on('connection', (socket) => {
    // The server gets a connection again when CONNECT leads back into it, or once its TLS is terminated.
    if (counted.has(socket) || 'encrypted' in socket) return;
    counted.add(socket);
    counts.open += 1;
    socket.once('close', () => {
      counts.open -= 1;
    });
  });
  server.on('drop', () => {
    counts.dropped += 1;
    const nowMs = performance.now();
    if (nowMs < nextReportMs) return;
    nextReportMs = nowMs + LOG_INTERVAL_MS;
    onDropped(counts.dropped - reported);
    reported = counts.dropped;
  });
  return {
    counts,
    set(next) {
      server.maxConnections = next;
    },
  };
}
