import type { Socket } from 'node:net';
import { buildConnector } from 'undici';

/** Opens a connection, by TLS where the origin is one of https. */
export type Open = (origin: URL, opened: buildConnector.Callback) => void;

export interface Sockets {
  /** One that hands what it reads to whoever `readFrom` names, and emits no `data`. */
  readonly open: Open;
  /** One like any other, for who may take it over. */
  readonly openStream: Open;
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
  return { open: opener({ ...options, ...halfOpen, ...shared }), openStream: opener({ ...options, ...halfOpen }) };
}

/** To be called as soon as the socket is there. */
export function readFrom(socket: Socket, read: Read): void {
  (socket as InputSocket).onInput = read;
}

function opener(options: buildConnector.BuildOptions): Open {
  const connect = buildConnector(options);
  return ({ host, hostname, protocol, port }, opened) => {
    // A URL has an IPv6 address in brackets; nobody else has.
    const name = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
    try {
      connect({ host, hostname: name, protocol, port }, opened);
    } catch (error) {
      // Of what it was made with.
      opened(error as Error, null);
    }
  };
}
