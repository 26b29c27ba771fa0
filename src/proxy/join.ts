import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { StallWatch } from './stall-watch.ts';

/**
 * Passes bytes between two connections, in each direction as fast as the other side reads. An end on one side is an end on the
 * other, while the other direction continues. An error on one side resets the other. A connection that waits for its peer, or
 * that is closed on one side, may stay silent for the stall timeout.
 */
export function join(one: Socket, other: Socket, { watch, stallMs }: JoinOptions): void {
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

interface JoinOptions {
  readonly watch: StallWatch;
  readonly stallMs: number;
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
