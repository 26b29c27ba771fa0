import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/**
 * Passes bytes between two connections, each way as fast as the other side takes them. An end on one side is an end on the
 * other, while the other way goes on; a connection that breaks off breaks the other.
 */
export function join(one: Duplex, other: Duplex): void {
  one.pipe(other);
  other.pipe(one);
  endTogether(one, other);
  endTogether(other, one);
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
