import { randomBytes } from 'node:crypto';
import type { Clock } from '../clock/clock.ts';
import type { SharedCache } from '../config/shared-cache.ts';
import type { ConnectStore, StoreConnection } from './store-connection.ts';
import { inTime, problemOf, type StoreProblem } from './store-problems.ts';

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

export interface ReconnectorOptions {
  readonly shared: SharedCache;
  readonly connect: ConnectStore;
  readonly clock: Clock;
  /** Reads the keys. @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE */
  readonly prepare: () => Promise<unknown>;
  readonly onChange: (state: StoreState) => void;
}

/** A connection with its health. */
interface Link {
  readonly connection: StoreConnection;
  /** In a row. */
  faults: number;
  /** Messages to this process itself. */
  sent: number;
  received: number;
}

/** Backoff between attempts to connect. */
const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 3000;
/** Longest wait of a start for the first connection. */
const START_MS = 1000;
/** Time limit for the steps of a new connection that no request waits for. */
const SETUP_MS = 2000;

/** Connects and subscribes to the server, and again after each fault. */
export function createReconnector({ shared, connect, clock, prepare, onChange }: ReconnectorOptions) {
  /** A name of this process alone, for its probe and for messages to itself. */
  const own = `${shared.prefix}:self:${randomBytes(12).toString('base64url')}`;
  const channels = new Map<string, (message: string) => void>();
  const upListeners: (() => void)[] = [];
  let current: Link | undefined;
  let attempts = 0;
  let isClosed = false;
  let retry: NodeJS.Timeout | undefined;
  let isInterrupted = false;
  let state: StoreState = { isAvailable: false, problem: undefined, error: undefined, sinceMs: clock.wallMs() };
  channels.set(own, () => {
    if (current !== undefined) current.received += 1;
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
  function lose(lost: Link | undefined, error: unknown): void {
    if (lost !== current || isClosed) return;
    lost?.connection.destroy();
    current = undefined;
    change({ isAvailable: false, problem: problemOf(error), error });
    attempts += 1;
    clearTimeout(retry);
    retry = setTimeout(() => void attempt(), pauseMs(attempts)).unref();
  }

  async function attempt(): Promise<void> {
    let made: StoreConnection | undefined;
    // Until its checks are done, its loss is an error of the check.
    const onLost = (error: unknown): void => {
      if (made !== undefined && current?.connection === made) lose(current, error);
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
      await inTime(made.get(own), shared.timeoutMs);
    } catch (error) {
      made?.destroy();
      lose(current, error);
      return;
    }
    if (isClosed) return made.destroy();
    current = { connection: made, faults: 0, sent: 0, received: 0 };
    attempts = 0;
    change({ isAvailable: true, problem: undefined, error: undefined });
    notifyUp();
  }

  return {
    own,
    /** Receives the messages of a channel. Called before `start`. */
    subscribe: (channel: string, listener: (message: string) => void): void => void channels.set(channel, listener),
    /** Called each time that the subscriptions are in force again. Messages before that were lost. */
    onUp: (listener: () => void): void => void upListeners.push(listener),
    /** Undefined while the server is considered down. */
    get current() {
      return current;
    },
    get state() {
      return state;
    },
    lose,
    /** Connects, and again after each fault. Settles after the first attempt, or a second. */
    async start(): Promise<void> {
      await inTime(attempt(), START_MS).catch(() => {});
    },
    close(): void {
      isClosed = true;
      clearTimeout(retry);
      current?.connection.destroy();
      current = undefined;
    },
  };
}

/** Grows with each attempt, and differs between replicas. */
function pauseMs(attempts: number): number {
  return Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (attempts - 1)) * (0.5 + Math.random() / 2);
}
