import type { Socket } from 'node:net';

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
