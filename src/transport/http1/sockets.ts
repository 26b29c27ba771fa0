import type { Socket } from 'node:net';
import type { buildConnector } from 'undici';
import { type Connect, createConnector } from '../connector.ts';

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
export function createSockets(options: buildConnector.BuildOptions): Sockets {
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
