import type { Socket } from 'node:net';
import { type Connect, type ConnectorOptions, createConnector } from '../connector.ts';

export interface Sockets {
  /** Connects a socket that passes what it reads to the function set by `readFrom`. It emits no `data`. */
  readonly connect: Connect;
  /** Connects an ordinary socket, which another owner can take over. */
  readonly connectStream: Connect;
  /** Destroys the sockets that are still connecting. Their callbacks get the error. */
  destroy(error: Error): void;
}

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

/** @param options for TLS, and the timeout for connecting */
export function createSockets(options: ConnectorOptions): Sockets {
  // Without this, a socket closes as soon as its upstream ends, before buffered bytes are read. TLS sees the end even while paused.
  const halfOpen: object = { allowHalfOpen: true };
  const sharedBuffer: object = { onread: ONREAD };
  const connector = createConnector({ ...options, ...halfOpen, ...sharedBuffer });
  const streamConnector = createConnector({ ...options, ...halfOpen });
  return {
    connect: connector.connect,
    connectStream: streamConnector.connect,
    destroy(error) {
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

/** Passes the bytes of a socket on, and buffers them while paused. */
export interface SocketReader {
  /** Passes bytes that the socket does not emit as `data`. @param bytes may be overwritten afterwards */
  push(bytes: Buffer): void;
  pause(): void;
  /** Continues on the next tick. @param isWanted asked then, because the consumer may have paused again or ended */
  resume(isWanted: () => boolean): void;
  /** Stops reading. The socket belongs to another owner from here on. */
  detach(): void;
}

const NO_BYTES = Buffer.alloc(0);

export function createSocketReader(socket: Socket, consumer: SocketConsumer): SocketReader {
  let isPaused = false;
  /** Bytes that arrived during a pause. TLS may deliver some although the socket is paused. */
  let buffered: Buffer = NO_BYTES;
  let hasEnded = false;

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
    pause() {
      isPaused = true;
      socket.pause();
    },
    resume(isWanted) {
      // The caller may be inside a callback of this consumer or of another one.
      process.nextTick(() => {
        if (isPaused && isWanted()) readOn();
      });
    },
    detach() {
      hasEnded = false;
      socket.off('data', push).off('end', end);
    },
  };
}
