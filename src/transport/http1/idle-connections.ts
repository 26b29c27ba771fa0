import { errors } from 'undici';
import type { Connection } from './connection.ts';

/** Idle connections, until their upstream may close them. */
export interface IdleConnections {
  /** @param untilMs as `performance.now()` */
  add(connection: Connection, untilMs: number): void;
  /** Takes the most recently used connection, so that surplus ones expire. */
  take(nowMs: number): Connection | undefined;
  closeAll(): void;
}

/** Interval for closing expired connections. */
const SWEEP_MS = 1_000;

interface Idle {
  readonly connection: Connection;
  readonly untilMs: number;
}

export function createIdleConnections(): IdleConnections {
  let idle: Idle[] = [];
  let sweeper: NodeJS.Timeout | undefined;

  function isUsable({ connection, untilMs }: Idle, nowMs: number): boolean {
    if (connection.isOpen() && untilMs > nowMs) return true;
    connection.destroy(new errors.InformationalError('the idle connection has expired'));
    return false;
  }

  function sweep(): void {
    const nowMs = performance.now();
    idle = idle.filter((each) => isUsable(each, nowMs));
    if (idle.length > 0) return;
    clearInterval(sweeper);
    sweeper = undefined;
  }

  return {
    add(connection, untilMs) {
      idle.push({ connection, untilMs });
      sweeper ??= setInterval(sweep, SWEEP_MS).unref();
    },
    take(nowMs) {
      for (let last = idle.pop(); last !== undefined; last = idle.pop()) {
        if (isUsable(last, nowMs)) return last.connection;
      }
      return undefined;
    },
    closeAll() {
      for (const { connection } of idle) connection.destroy(new errors.ClientClosedError());
      sweep();
    },
  };
}
