import type { Clock } from '../clock/clock.ts';
import { createReconnector, type ReconnectorOptions } from './reconnector.ts';
import type { StoreKeys } from './seal.ts';
import type { StoreConnection } from './store-connection.ts';
import type { Operation, StoreCounts } from './store-counts.ts';
import { inTime, StoreTimeoutError } from './store-problems.ts';

/** Everything that reads and writes at the server needs these. */
export interface StoreParts {
  readonly store: Store;
  readonly keys: StoreKeys;
  readonly counts: StoreCounts;
  readonly clock: Clock;
  /** The names of all keys and channels begin with it. */
  readonly prefix: string;
}

/** The server is considered down at this number of faults in a row. */
const TOLERATED_FAULTS = 3;
/** Interval of the heartbeat, a message to the server and back. */
const HEARTBEAT_MS = 5000;

/** The server of the shared cache. Every fault of it is an undefined result. */
export type Store = ReturnType<typeof createStore>;

export function createStore({ counts, ...options }: ReconnectorOptions & Pick<StoreParts, 'counts'>) {
  const { shared, clock, prepare } = options;
  const server = createReconnector(options);

  /**
   * Runs an operation within the time limit of a request. Never rejects.
   * @param limitMs for work that no request waits for
   * @returns undefined if it failed, if it was late, and at once while the server is considered down
   */
  async function use<T>(
    operation: Operation,
    work: (connection: StoreConnection) => Promise<T>,
    limitMs = shared.timeoutMs,
  ): Promise<{ readonly value: T } | undefined> {
    const used = server.current;
    if (used === undefined) {
      counts.operation(operation, 'skipped');
      return undefined;
    }
    const startedMs = clock.monotonicMs();
    try {
      const value = await inTime(work(used.connection), limitMs);
      used.faults = 0;
      counts.duration(clock.monotonicMs() - startedMs);
      return { value };
    } catch (error) {
      counts.operation(operation, error instanceof StoreTimeoutError ? 'timeout' : 'error');
      used.faults += 1;
      if (used.faults >= TOLERATED_FAULTS) server.lose(used, error);
      return undefined;
    }
  }

  async function beat(): Promise<void> {
    const used = server.current;
    if (used === undefined) return;
    // Handles use the keys that were read last.
    await prepare().catch(() => {});
    if (used !== server.current) return;
    if (used.received < used.sent) return server.lose(used, new Error('The connection delivers no messages: closed'));
    const { value } = (await use('heartbeat', (each) => each.publish(server.own, '1'))) ?? {};
    if (value === undefined || used !== server.current) return;
    used.sent += 1;
    counts.operation('heartbeat', 'ok');
  }

  const heart = setInterval(() => void beat(), HEARTBEAT_MS).unref();

  return {
    use,
    subscribe: server.subscribe,
    onUp: server.onUp,
    get state() {
      return server.state;
    },
    start: server.start,
    close(): void {
      clearInterval(heart);
      server.close();
    },
  };
}
