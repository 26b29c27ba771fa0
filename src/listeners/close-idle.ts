import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** Delay that joins several calls. */
const JOIN_MS = 20;

/**
 * Closes the idle connections of a server. Node's own function would cut off a response that is written but not sent yet, so it
 * waits until every connection has sent what was written to it.
 * @returns a function to call at the start of a shutdown, and whenever a request is finished after that
 */
export function createIdleCloser(server: Server): () => void {
  const sockets = new Set<Socket>();
  let timer: NodeJS.Timeout | undefined;
  server.on('connection', (socket) => {
    // The server gets a connection again after a request that offered another protocol.
    if (sockets.has(socket)) return;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });

  function close(): void {
    timer = undefined;
    if ([...sockets].some(({ writableLength }) => writableLength > 0)) schedule();
    else server.closeIdleConnections();
  }

  function schedule(): void {
    if (timer === undefined) timer = setTimeout(close, JOIN_MS).unref();
  }

  return schedule;
}
