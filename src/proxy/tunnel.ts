import { connect, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Reach } from '../transport/dispatchers.ts';
import { systemLookup } from '../transport/system-lookup.ts';
import type { StallWatch } from './stall-watch.ts';

/**
 * Passes bytes between two connections, in each direction as fast as the other side reads. An end on one side is an end on the
 * other, while the other direction continues. An error on one side resets the other. A connection that waits for its peer, or
 * that is closed on one side, may stay silent for the stall timeout.
 */
export function join(one: Socket, other: Socket, watch: StallWatch, stallMs: number): void {
  one.pipe(other);
  other.pipe(one);
  endTogether(one, other);
  endTogether(other, one);
  for (const socket of [one, other]) {
    watch.add({
      socket,
      isPaused: () => socket.isPaused() || socket.readableEnded,
      isOver: () => false,
      stallMs: () => stallMs,
      onStall: () => breakOff(socket),
    });
  }
}

function endTogether(one: Duplex, other: Duplex): void {
  one.on('error', () => one.destroy());
  one.once('close', () => {
    const inOrder = one.readableEnded && one.writableFinished;
    if (!inOrder && !other.destroyed) breakOff(other);
  });
}

/** A plain connection can be reset, so that what came so far is not taken for all. */
function breakOff(socket: Duplex): void {
  if (socket instanceof Socket && socket.remoteAddress !== undefined && !('encrypted' in socket)) {
    socket.resetAndDestroy();
  } else socket.destroy();
}

/** A caller has to wait for the response before it sends more (RFC 6455 section 4.1, RFC 9110 section 9.3.6). */
const MAX_EARLY_BYTES = 64 * 1024;

/**
 * Reads the bytes that a caller sends before its connection has switched, because Node reports that a
 * caller has left only while it reads. Closes the connection of a caller that closes its side, or sends too much.
 * @param first bytes that were already read
 * @returns stops reading, and puts all bytes back in front of what the connection has yet to read
 */
export function readEarlyBytes(socket: Socket, first: Buffer): () => void {
  const chunks = [first];
  let size = first.length;
  const close = (): void => void socket.destroy();
  const take = (chunk: Buffer): void => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_EARLY_BYTES) close();
  };
  socket.on('data', take);
  socket.once('end', close);
  return () => {
    socket.off('data', take);
    socket.off('end', close);
    socket.pause();
    if (size > 0) socket.unshift(Buffer.concat(chunks));
  };
}

/** Limit for connecting to the far end of a tunnel. */
const CONNECT_MS = 5000;

/**
 * Connects to the far end of a tunnel, and calls one of the functions once. A caller that destroys the socket before gets no call.
 * @param failed called with the reason: the far end is unreachable, or is cambist itself
 */
export function connectFarEnd(
  to: { readonly host: string; readonly port: number },
  { lookup = systemLookup, refuse }: Reach,
  connected: (far: Socket) => void,
  failed: (reason: Error) => void,
): Socket {
  const far = connect({ ...to, allowHalfOpen: true, lookup });
  const timer = setTimeout(() => far.destroy(new Error('not connected in time')), CONNECT_MS);
  far.once('error', failed);
  far.once('close', () => clearTimeout(timer));
  far.once('connect', () => {
    clearTimeout(timer);
    far.off('error', failed);
    const reason = refuse?.(far);
    if (reason === undefined) {
      connected(far);
    } else {
      far.destroy();
      failed(reason);
    }
  });
  return far;
}

/** The tunnels that are open or about to open. A reload may add a route for the host of one. */
export class Tunnels {
  readonly #hosts = new Map<Socket, string>();

  /** @param client closing it closes the tunnel */
  add(host: string, client: Socket): void {
    this.#hosts.set(client, host);
    client.once('close', () => this.#hosts.delete(client));
  }

  /** Closes the tunnels to hosts that a route names: such a host never has one. @returns their number */
  closeRouted(table: { namesHost(host: string): boolean }): number {
    const routed = [...this.#hosts].filter(([, host]) => table.namesHost(host));
    for (const [client] of routed) client.destroy();
    return routed.length;
  }
}
