import type { Socket } from 'node:net';
import type { Clock } from '../clock/clock.ts';
import { DEFAULT_STALL } from '../config/route-keys.ts';
import { defaultDuration } from '../config/units.ts';

/**
 * A connection whose caller may have left unseen. Node reports that only while it reads, and backpressure stops the reading.
 */
export interface Watched {
  readonly socket: Socket;
  /** True while the end of the connection would go unseen. */
  isPaused(): boolean;
  /** True once the watch is no longer needed. */
  isOver(): boolean;
  /** Milliseconds that the connection may stay paused without a byte in either direction. */
  stallMs(): number;
  /** Bytes that renew that time. By default, any byte does. */
  readonly leastBytes?: number;
  /** Called once, when that time has passed. */
  onStall(): void;
}

/** Detects callers that left while their connection is paused, and bounds how long a connection may stay paused. */
export type StallWatch = ReturnType<typeof createStallWatch>;

/** Connections that belong to no route have it. */
export const DEFAULT_STALL_MS = defaultDuration(DEFAULT_STALL);

/** A reset is seen within this time. */
const CHECK_MS = 1000;

interface Progress {
  bytes: number;
  /** Monotonic milliseconds of the first check that found the connection paused with this many bytes. */
  sinceMs: number;
}

/** One timer serves all connections. It runs only while there is a connection to watch. */
export function createStallWatch(clock: Pick<Clock, 'monotonicMs'>) {
  /** The connections, with the progress at the last check. Undefined: the connection was not paused then. */
  const watches = new Map<Watched, Progress | undefined>();
  let timer: NodeJS.Timeout | undefined;

  function check(): void {
    const nowMs = clock.monotonicMs();
    for (const [watched, progress] of watches) {
      if (watched.socket.destroyed || watched.isOver()) watches.delete(watched);
      else if (watched.isPaused()) checkPaused(watched, progress, nowMs);
      else watches.set(watched, undefined);
    }
    if (watches.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  }

  function checkPaused(watched: Watched, progress: Progress | undefined, nowMs: number): void {
    const { socket, leastBytes = 1 } = watched;
    const bytes = socket.bytesRead + socket.bytesWritten;
    if (progress === undefined || bytes - progress.bytes >= leastBytes) {
      watches.set(watched, { bytes, sinceMs: nowMs });
    } else if (nowMs - progress.sinceMs >= watched.stallMs()) {
      watches.delete(watched);
      watched.onStall();
      return;
    }
    // A write of nothing fails on a connection that was reset. Pending bytes would fail by themselves.
    if (socket.writable && socket.writableLength === 0) socket.write('');
  }

  return {
    add(watched: Watched): void {
      watches.set(watched, undefined);
      timer ??= setInterval(check, CHECK_MS).unref();
    },
    /** Without it, a watch that is over is removed at the next check. */
    remove: (watched: Watched) => void watches.delete(watched),
  };
}
