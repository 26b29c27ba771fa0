import { randomBytes } from 'node:crypto';
import type { Clock } from '../clock/clock.ts';
import type { SharedCache } from '../config/shared-cache.ts';
import type { StoreKeys } from './seal.ts';
import type { ConnectStore, StoreConnection } from './store-connection.ts';
import type { Operation, StoreCounts } from './store-counts.ts';
import { inTime, problemOf, type StoreProblem, StoreTimeoutError } from './store-problems.ts';

/** The state of the shared cache, for the log and the status page. */
export interface StoreState {
  readonly isAvailable: boolean;
  /** The last problem, while the store is unavailable. */
  readonly problem: StoreProblem | undefined;
  /** The last error of the client. */
  readonly error: unknown;
  /** Epoch milliseconds when this state began. */
  readonly sinceMs: number;
}

/** Everything that reads and writes at the server needs these. */
export interface StoreParts {
  readonly store: Store;
  readonly keys: StoreKeys;
  readonly counts: StoreCounts;
  readonly clock: Clock;
  /** The names of all keys and channels begin with it. */
  readonly prefix: string;
}

export interface StoreOptions {
  readonly shared: SharedCache;
  readonly connect: ConnectStore;
  readonly clock: Clock;
  readonly counts: StoreCounts;
  /** Reads the keys. @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE */
  readonly prepare: () => Promise<unknown>;
  readonly onChange: (state: StoreState) => void;
}

/** The server is considered down at this number of faults in a row. */
const TOLERATED_FAULTS = 3;
/** Backoff between attempts to connect. */
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 3000;
/** Longest wait of a start for the first connection. */
const START_MS = 1000;
/** Time limit for the steps of a new connection that no request waits for. */
const SETUP_MS = 2000;
/** Interval of the heartbeat, a message to the server and back. */
const HEARTBEAT_MS = 5000;

/** The server of the shared cache. Every fault of it is an undefined result. */
export type Store = ReturnType<typeof createStore>;

export function createStore({ shared, connect, clock, counts, prepare, onChange }: StoreOptions) {
  const { prefix, timeoutMs } = shared;
  /** A name of this process alone, for its probe and for messages to itself. */
  const own = `${prefix}:self:${randomBytes(12).toString('base64url')}`;
  const channels = new Map<string, (message: string) => void>();
  const upListeners: (() => void)[] = [];
  let connection: StoreConnection | undefined;
  let faults = 0;
  let attempts = 0;
  let isClosed = false;
  let retry: NodeJS.Timeout | undefined;
  let beats = { sent: 0, received: 0 };
  let isInterrupted = false;
  let state: StoreState = { isAvailable: false, problem: undefined, error: undefined, sinceMs: clock.wallMs() };
  channels.set(own, () => {
    beats.received += 1;
    // The library has subscribed again.
    if (isInterrupted) notifyUp();
  });

  function notifyUp(): void {
    isInterrupted = false;
    for (const listener of upListeners) listener();
  }

  function change(next: Omit<StoreState, 'sinceMs'>): void {
    const isSame = next.isAvailable === state.isAvailable && next.problem === state.problem;
    state = { ...next, sinceMs: isSame ? state.sinceMs : clock.wallMs() };
    if (!isSame) onChange(state);
  }

  /** The connection is useless: makes another one soon. */
  function lose(lost: StoreConnection | undefined, error: unknown): void {
    if (lost !== connection || isClosed) return;
    lost?.destroy();
    connection = undefined;
    faults = 0;
    change({ isAvailable: false, problem: problemOf(error), error });
    attempts += 1;
    clearTimeout(retry);
    retry = setTimeout(() => void attempt(), pauseMs(attempts)).unref();
  }

  async function attempt(): Promise<void> {
    let made: StoreConnection | undefined;
    // Until its checks are done, its loss is an error of the check.
    const onLost = (error: unknown): void => {
      if (made !== undefined && connection === made) lose(made, error);
    };
    const onInterrupted = (): void => {
      isInterrupted = true;
    };
    try {
      await prepare();
      made = await connect(shared, onLost, onInterrupted);
      for (const [channel, listener] of channels) await inTime(made.subscribe(channel, listener), SETUP_MS);
      await inTime(made.set(own, '1', MAX_RETRY_MS), SETUP_MS);
      // As fast as a request needs it, so that a slow server is not tried by requests again and again.
      await inTime(made.get(own), timeoutMs);
    } catch (error) {
      made?.destroy();
      lose(connection, error);
      return;
    }
    if (isClosed) return made.destroy();
    connection = made;
    attempts = 0;
    beats = { sent: 0, received: 0 };
    change({ isAvailable: true, problem: undefined, error: undefined });
    notifyUp();
  }

  /**
   * Runs an operation within the time limit of a request. Never rejects.
   * @param limitMs for work that no request waits for
   * @returns undefined if it failed, if it was late, and at once while the server is considered down
   */
  async function use<T>(
    operation: Operation,
    work: (connection: StoreConnection) => Promise<T>,
    limitMs = timeoutMs,
  ): Promise<{ readonly value: T } | undefined> {
    const used = connection;
    if (used === undefined) {
      counts.operation(operation, 'skipped');
      return undefined;
    }
    const startedMs = clock.monotonicMs();
    try {
      const value = await inTime(work(used), limitMs);
      if (used === connection) faults = 0;
      counts.duration(clock.monotonicMs() - startedMs);
      return { value };
    } catch (error) {
      counts.operation(operation, error instanceof StoreTimeoutError ? 'timeout' : 'error');
      if (used === connection) {
        faults += 1;
        if (faults >= TOLERATED_FAULTS) lose(used, error);
      }
      return undefined;
    }
  }

  async function beat(): Promise<void> {
    const used = connection;
    if (used === undefined) return;
    // Handles use the keys that were read last.
    await prepare().catch(() => {});
    if (used !== connection) return;
    if (beats.received < beats.sent) return lose(used, new Error('The connection delivers no messages: closed'));
    const { value } = (await use('heartbeat', (each) => each.publish(own, '1'))) ?? {};
    if (value === undefined || used !== connection) return;
    beats.sent += 1;
    counts.operation('heartbeat', 'ok');
  }

  const heart = setInterval(() => void beat(), HEARTBEAT_MS).unref();

  return {
    use,
    /** Receives the messages of a channel. Called before `start`. */
    subscribe: (channel: string, listener: (message: string) => void): void => void channels.set(channel, listener),
    /** Called each time that the subscriptions are in force again. Messages before that were lost. */
    onUp: (listener: () => void): void => void upListeners.push(listener),
    get state() {
      return state;
    },
    /** Connects, and again after each fault. Settles after the first attempt, or a second. */
    async start(): Promise<void> {
      await inTime(attempt(), START_MS).catch(() => {});
    },
    close(): void {
      isClosed = true;
      clearInterval(heart);
      clearTimeout(retry);
      connection?.destroy();
      connection = undefined;
    },
  };
}

/** Grows with each attempt, and differs between replicas. */
function pauseMs(attempts: number): number {
  return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempts - 1)) * (0.5 + Math.random() / 2);
}
