import type { Socket } from 'node:net';

/** Whom what a socket reads is for. */
export interface Reader {
  /** @returns how many of the bytes it has read; the rest comes again after `release` */
  read(bytes: Buffer): number;
  /** Nothing more comes. */
  finish(): void;
  /** To go on after it was held back. */
  release(): void;
}

/** Hands on what a socket reads, and holds it back while nobody wants it. */
export interface Intake {
  /** What the socket does not emit as `data`. @param bytes may be overwritten afterwards */
  push(bytes: Buffer): void;
  hold(): void;
  /** @param isWanted is asked when the time has come: it may have been held again, or have ended */
  release(isWanted: () => boolean): void;
  /** The socket is another's from here on: nothing that it reads is handed on. */
  leave(): void;
}

const NO_BYTES = Buffer.alloc(0);

export function createIntake(socket: Socket, reader: Reader): Intake {
  let isHeld = false;
  /** What came meanwhile, and was that all? By TLS more may come though the socket is paused. */
  let held: Buffer = NO_BYTES;
  let hasEnded = false;

  function push(bytes: Buffer): void {
    if (isHeld) {
      held = Buffer.concat([held, bytes]);
      return;
    }
    const length = reader.read(bytes);
    if (length < bytes.length) held = Buffer.from(bytes.subarray(length));
  }

  function end(): void {
    if (isHeld) hasEnded = true;
    else reader.finish();
  }

  function goOn(): void {
    const bytes = held;
    held = NO_BYTES;
    isHeld = false;
    reader.release();
    socket.resume();
    push(bytes);
    // By what was in them it may have been destroyed, or left.
    if (hasEnded && !socket.destroyed) end();
  }

  socket.on('data', push).on('end', end);

  return {
    push,
    hold() {
      isHeld = true;
      socket.pause();
    },
    release(isWanted) {
      // Whoever wants more may just be told something, by this reader or another.
      process.nextTick(() => {
        if (isHeld && isWanted()) goOn();
      });
    },
    leave() {
      hasEnded = false;
      socket.off('data', push).off('end', end);
    },
  };
}
