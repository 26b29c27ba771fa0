import { connect, type Socket } from 'node:net';
import type { RecordSink } from './sink.ts';

const CONNECT_TIMEOUT_MS = 5000;
/** A reader that takes nothing for this long is treated as gone. */
const SEND_TIMEOUT_MS = 10_000;

/**
 * Sends records to a Unix socket, as a stream of lines. It connects when it has a record, and again after the reader has closed
 * the connection. Records whose sending failed are sent again as a whole, so a reader may see some of them twice.
 */
export function createSocketSink(path: string): RecordSink {
  let socket: Socket | undefined;
  let connecting: Promise<Socket> | undefined;

  function connected(): Promise<Socket> {
    if (socket !== undefined && !socket.destroyed && socket.writable) return Promise.resolve(socket);
    connecting ??= open().finally(() => {
      connecting = undefined;
    });
    return connecting;
  }

  async function open(): Promise<Socket> {
    const next = connect({ path });
    // Nothing is expected from the reader. Reading shows when it closes the connection.
    next.resume();
    next.on('error', () => {});
    next.on('end', () => next.destroy());
    next.unref();
    await within(CONNECT_TIMEOUT_MS, next, 'the socket accepted no connection in time', (done) => {
      next.once('connect', () => done());
    });
    socket = next;
    return next;
  }

  return {
    isSynchronous: false,
    async open() {
      await connected();
    },
    async send(lines) {
      const reader = await connected();
      await within(SEND_TIMEOUT_MS, reader, 'the reader took no record in time', (done) => {
        reader.write(lines, (error) => done(error ?? undefined));
      });
      return lines.length;
    },
    // The reader decides when its socket is another one.
    reopen() {},
    async close() {
      socket?.destroy();
    },
  };
}

/** Waits for a step of a socket. Closes the socket where it fails or takes too long. */
function within(
  timeoutMs: number,
  socket: Socket,
  tooLate: string,
  begin: (done: (error?: Error) => void) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: Error): void => {
      clearTimeout(timer);
      socket.off('error', settle);
      socket.off('close', onClose);
      if (error === undefined) {
        resolve();
        return;
      }
      socket.destroy();
      reject(error);
    };
    const onClose = (): void => settle(new Error('the reader closed the connection'));
    const timer = setTimeout(() => settle(new Error(tooLate)), timeoutMs);
    socket.once('error', settle);
    socket.once('close', onClose);
    begin(settle);
  });
}
