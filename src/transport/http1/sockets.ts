import type { Socket } from 'node:net';
import type { buildConnector } from 'undici';
import { createOpener, type Open } from '../opener.ts';

export interface Sockets {
  /** One that hands what it reads to whoever `readFrom` names, and emits no `data`. */
  readonly open: Open;
  /** One like any other, for who may take it over. */
  readonly openStream: Open;
  /** Ends those that still connect, and who waits for them is told so. */
  destroy(error: Error): void;
}

/** Takes what was read, and keeps nothing of it: what is read next overwrites it. */
export type Read = (bytes: Buffer) => void;

interface InputSocket extends Socket {
  onInput?: Read;
}

/** Where the sockets of `open` read to, one at a time. Each would else allocate as much for each time that it reads. */
const INPUT = Buffer.allocUnsafeSlow(64 * 1024);

const ONREAD = {
  buffer: INPUT,
  callback(this: InputSocket, length: number): boolean {
    this.onInput?.(INPUT.subarray(0, length));
    return true;
  },
};

/** @param options of TLS, and how long connecting may take */
export function createSockets(options: buildConnector.BuildOptions): Sockets {
  // One that closes itself as its upstream does would do so before all was read that is held back: TLS sees the end though nobody reads.
  const halfOpen: object = { allowHalfOpen: true };
  const shared: object = { onread: ONREAD };
  const sockets = createOpener({ ...options, ...halfOpen, ...shared });
  const streams = createOpener({ ...options, ...halfOpen });
  return {
    open: sockets.open,
    openStream: streams.open,
    destroy(error) {
      sockets.destroy(error);
      streams.destroy(error);
    },
  };
}

/** To be called as soon as the socket is there. */
export function readFrom(socket: Socket, read: Read): void {
  (socket as InputSocket).onInput = read;
}
