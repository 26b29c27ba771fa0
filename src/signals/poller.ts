import { createPause, type Pause } from './pause.ts';
import { TransmitterError } from './problems.ts';
import { createPollSender, type PollSenderOptions } from './send-polls.ts';
import { createEventSettler, type EventSettlerOptions } from './settle-events.ts';

/** Polls a transmitter for events until it is stopped (RFC 8936). */
export interface Poller {
  start(): void;
  stop(): void;
}

export interface PollerOptions extends Omit<PollSenderOptions, 'settler'> {
  /** Pause between polls at a transmitter that does not delay its responses. */
  readonly intervalMs: number;
  readonly take: EventSettlerOptions['take'];
  /** Called after each poll. @param error undefined after a success */
  readonly onResult: (error: unknown) => void;
  /** From 0 to 1, for jitter. */
  readonly random?: () => number;
  readonly pause?: Pause;
}

/** Bounds the work that a transmitter can cause with new events. */
const BUSY_PAUSE_MS = 50;
/** The pause after a failure: at first, and at most. */
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 60_000;

export function createPoller(options: PollerOptions): Poller {
  const { intervalMs, onResult, random = Math.random } = options;
  const pause = options.pause ?? createPause();
  const settler = createEventSettler(options);
  const sender = createPollSender({ ...options, settler });
  let failures = 0;
  let isStopped = false;

  async function run(): Promise<void> {
    while (!isStopped) {
      const pauseMs = await attempt();
      if (!isStopped) await pause.wait(pauseMs);
    }
  }

  /** @returns how long to wait before the next attempt */
  async function attempt(): Promise<number> {
    try {
      const pauseMs = await poll();
      if (pauseMs === undefined) return 0;
      failures = 0;
      if (!isStopped) onResult(undefined);
      return pauseMs;
    } catch (error) {
      sender.failed();
      if (!isStopped) onResult(error);
      failures += 1;
      return backOff(failures, error, random());
    }
  }

  /** @returns how long to wait before the next poll. Undefined where a long poll shows nothing about the transmitter */
  async function poll(): Promise<number | undefined> {
    const polled = await sender.send();
    if (polled === undefined) return undefined;
    const isNew = await settler.settle(polled.sets);
    // A transmitter that sends settled events again would otherwise be polled without a pause.
    if (polled.sets.length > 0) return isNew ? BUSY_PAUSE_MS : intervalMs;
    return polled.isQuiet ? intervalMs : 0;
  }

  return {
    start: () => void run(),
    stop() {
      isStopped = true;
      pause.end();
    },
  };
}

function backOff(failures: number, error: unknown, random: number): number {
  const pauseMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10)) * (0.5 + random / 2);
  return Math.max(pauseMs, error instanceof TransmitterError ? (error.retryAfterSeconds ?? 0) * 1000 : 0);
}
