import type { Socket } from 'node:net';
import { type ConnectorOptions, createConnector } from '../connector.ts';

/** Receives bytes that the next read overwrites. */
export type Read = (bytes: Buffer) => void;

interface InputSocket extends Socket {
  onInput?: Read;
}

/** All sockets of `connect` read into this buffer, one at a time. Otherwise each read would allocate a buffer of this size. */
const INPUT = Buffer.allocUnsafeSlow(64 * 1024);

const ONREAD = {
  buffer: INPUT,
  callback(this: InputSocket, length: number): boolean {
    this.onInput?.(INPUT.subarray(0, length));
    return true;
  },
};

export type Sockets = ReturnType<typeof createSockets>;

/** @param options for TLS, and the timeout for connecting */
export function createSockets(options: ConnectorOptions) {
  // Without this, a socket closes as soon as its upstream ends, before buffered bytes are read. TLS sees the end even while paused.
  const halfOpen: object = { allowHalfOpen: true };
  const sharedBuffer: object = { onread: ONREAD };
  const connector = createConnector({ ...options, ...halfOpen, ...sharedBuffer });
  const streamConnector = createConnector({ ...options, ...halfOpen });
  return {
    /** Connects a socket that passes what it reads to the function set by `readFrom`. It emits no `data`. */
    connect: connector.connect,
    /** Connects an ordinary socket, which another owner can take over. */
    connectStream: streamConnector.connect,
    /** Destroys the sockets that are still connecting. Their callbacks get the error. */
    destroy(error: Error): void {
      connector.destroy(error);
      streamConnector.destroy(error);
    },
  };
}

/** Has to be called in the callback of `connect`, before anything is read. */
export function readFrom(socket: Socket, read: Read): void {
  (socket as InputSocket).onInput = read;
}

/** Receives the bytes read from a socket. */
export interface SocketConsumer {
  /** @returns how many bytes were consumed. The rest is passed again after `resume` */
  read(bytes: Buffer): number;
  /** The upstream closed its side of the socket. */
  finish(): void;
  /** Called before reading continues after a pause. */
  resume(): void;
}

const NO_BYTES = Buffer.alloc(0);

/** Passes the bytes of a socket on, and buffers them while paused. */
export type SocketReader = ReturnType<typeof createSocketReader>;

export function createSocketReader(socket: Socket, consumer: SocketConsumer) {
  let isPaused = false;
  /** Bytes that arrived during a pause. TLS may deliver some although the socket is paused. */
  let buffered: Buffer = NO_BYTES;
  let hasEnded = false;

  /** Passes bytes that the socket does not emit as `data`. @param bytes may be overwritten afterwards */
  function push(bytes: Buffer): void {
    if (isPaused) {
      buffered = Buffer.concat([buffered, bytes]);
      return;
    }
    const length = consumer.read(bytes);
    if (length < bytes.length) buffered = Buffer.from(bytes.subarray(length));
  }

  function end(): void {
    if (isPaused) hasEnded = true;
    else consumer.finish();
  }

  function readOn(): void {
    const bytes = buffered;
    buffered = NO_BYTES;
    isPaused = false;
    consumer.resume();
    socket.resume();
    push(bytes);
    // Reading these bytes may have destroyed or detached the socket.
    if (hasEnded && !socket.destroyed) end();
  }

  socket.on('data', push).on('end', end);

  return {
    push,
    pause(): void {
      isPaused = true;
      socket.pause();
    },
    /** Continues on the next tick. @param isWanted asked then, because the consumer may have paused again or ended */
    resume(isWanted: () => boolean): void {
      // The caller may be inside a callback of this consumer or of another one.
      process.nextTick(() => {
        if (isPaused && isWanted()) readOn();
      });
    },
    /** Stops reading. The socket belongs to another owner from here on. */
    detach(): void {
      hasEnded = false;
      socket.off('data', push).off('end', end);
    },
  };
}
