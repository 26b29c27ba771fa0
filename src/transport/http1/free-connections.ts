import { errors } from 'undici';
import type { Connection } from './connection.ts';

/** Connections that carry nothing, until their upstream may close them. */
export interface FreeConnections {
  /** @param untilMs of `performance.now()` */
  keep(connection: Connection, untilMs: number): void;
  /** The one used last, so that those which are not needed come to their end. */
  take(nowMs: number): Connection | undefined;
  closeAll(): void;
}

/** How often it is looked whose time is over. */
const SWEEP_MS = 1_000;

interface Kept {
  readonly connection: Connection;
  readonly untilMs: number;
}

export function createFreeConnections(): FreeConnections {
  let kept: Kept[] = [];
  let sweeper: NodeJS.Timeout | undefined;

  function isUsable({ connection, untilMs }: Kept, nowMs: number): boolean {
    if (connection.isOpen() && untilMs > nowMs) return true;
    connection.destroy(new errors.InformationalError('the connection has waited long enough'));
    return false;
  }

  function sweep(): void {
    const nowMs = performance.now();
    kept = kept.filter((each) => isUsable(each, nowMs));
    if (kept.length > 0) return;
    clearInterval(sweeper);
    sweeper = undefined;
  }

  return {
    keep(connection, untilMs) {
      kept.push({ connection, untilMs });
      sweeper ??= setInterval(sweep, SWEEP_MS).unref();
    },
    take(nowMs) {
      for (let last = kept.pop(); last !== undefined; last = kept.pop()) {
        if (isUsable(last, nowMs)) return last.connection;
      }
      return undefined;
    },
    closeAll() {
      for (const { connection } of kept) connection.destroy(new errors.ClientClosedError());
      sweep();
    },
  };
}
