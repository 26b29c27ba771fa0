import { connect } from 'node:net';
import { createMessageReader } from './message-reader.ts';

/** A connection to a proxy, for one request at a time. */
export interface Connection {
  /** @param onEnd receives the status; 0 if the connection failed. @param onHeaders called before, with the response headers */
  send(request: Buffer, onEnd: (status: number) => void, onHeaders?: () => void): void;
  close(): void;
}

/** Resolves with an open connection. */
export function openConnection(port: number): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let finished: ((status: number) => void) | undefined;
    let started: (() => void) | undefined;
    const end = (status: number): void => {
      const notify = finished;
      finished = undefined;
      notify?.(status);
    };
    const read = createMessageReader(
      () => started?.(),
      (headers) => end(Number(headers.slice(9, 12))),
    );
    socket.on('data', read);
    socket.once('error', reject);
    socket.on('close', () => end(0));
    socket.once('connect', () => {
      resolve({
        send(request, onEnd, onHeaders) {
          finished = onEnd;
          started = onHeaders;
          socket.write(request);
        },
        close() {
          finished = undefined;
          socket.destroy();
        },
      });
    });
  });
}

export function openConnections(port: number, count: number): Promise<Connection[]> {
  return Promise.all(Array.from({ length: count }, () => openConnection(port)));
}
