import { connect } from 'node:net';
import { createMessageReader } from './message-reader.ts';

/** A connection to a proxy, for one request at a time. */
export interface Connection {
  /** @param onEnd is told the status; 0 is a connection that broke. @param onHead comes before it */
  send(request: Buffer, onEnd: (status: number) => void, onHead?: () => void): void;
  close(): void;
}

/** Settles when it is open. */
export function openConnection(port: number): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let ended: ((status: number) => void) | undefined;
    let begun: (() => void) | undefined;
    const end = (status: number): void => {
      const tell = ended;
      ended = undefined;
      tell?.(status);
    };
    const read = createMessageReader(
      () => begun?.(),
      (head) => end(Number(head.slice(9, 12))),
    );
    socket.on('data', read);
    socket.once('error', reject);
    socket.on('close', () => end(0));
    socket.once('connect', () => {
      resolve({
        send(request, onEnd, onHead) {
          ended = onEnd;
          begun = onHead;
          socket.write(request);
        },
        close() {
          ended = undefined;
          socket.destroy();
        },
      });
    });
  });
}

export function openConnections(port: number, count: number): Promise<Connection[]> {
  return Promise.all(Array.from({ length: count }, () => openConnection(port)));
}
