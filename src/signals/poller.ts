import { setTimeout } from 'node:timers/promises';
import type { Clock } from '../clock/clock.ts';
import type { Transmitter } from '../config/signals.ts';
import { isTimeout } from '../tokens/bounded-request.ts';
import { createEventSettler, type EventSettlerOptions } from './settle-events.ts';
import {
  type ClientOptions,
  createPoll,
  FIXES,
  type Poll,
  type PolledSets,
  TransmitterError,
} from './transmitter-client.ts';

interface PollerOptions extends EventSettlerOptions {
  readonly poll: Poll;
  readonly clock: Clock;
  /** Pause between polls at a transmitter that does not delay its responses. */
  readonly intervalMs: number;
  /** Called after each poll. @param error undefined after a success */
  readonly onResult: (error: unknown) => void;
  /** Returns a number from 0 to 1, for jitter. */
  readonly random?: () => number;
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<unknown>;
}

/** Most new events of one poll. A response may have 256 KiB, which is 4 KiB for each of these and of those that stay. */
export const MAX_EVENTS = 20;
/** Longest wait for the response to a poll that wants it at once. */
const SHORT_POLL_MS = 10_000;
/** Longest wait for an event at the transmitter. Gateways often close a request after a minute. */
const LONG_POLL_MS = 30_000;
/** A response without events within this time was not delayed. */
const DELAYED_MS = 1000;
/** Bounds the work that a transmitter can cause with new events. */
const BUSY_PAUSE_MS = 50;
/** Backoff after a failure: the first delay, and the longest. */
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 60_000;

/** Polls a transmitter for events until it is stopped (RFC 8936). */
export function createPoller(options: PollerOptions) {
  const { poll, clock, intervalMs, onResult, random = Math.random } = options;
  const { sleep = (ms, signal) => setTimeout(ms, undefined, { signal }) } = options;
  const settler = createEventSettler(options);
  const stopping = new AbortController();
  /** The last poll got a response. The next one may then be a long one. */
  let isReachable = false;
  let failures = 0;

  async function run({ signal }: AbortController): Promise<void> {
    while (!signal.aborted) {
      const pauseMs = await attempt(signal);
      await sleep(pauseMs, signal).catch(() => {});
    }
  }

  /** @returns the delay before the next attempt in milliseconds */
  async function attempt(signal: AbortSignal): Promise<number> {
    try {
      const pauseMs = await pollOnce();
      if (pauseMs === undefined) return 0;
      failures = 0;
      if (!signal.aborted) onResult(undefined);
      return pauseMs;
    } catch (error) {
      isReachable = false;
      if (!signal.aborted) onResult(error);
      failures += 1;
      return backOff(failures, error, random());
    }
  }

  /** @returns the delay before the next poll in milliseconds, or undefined where a long poll shows nothing about the transmitter */
  async function pollOnce(): Promise<number | undefined> {
    const isLong = isReachable;
    const startedMs = clock.monotonicMs();
    const sets = await send(isLong);
    isReachable = sets !== undefined;
    if (sets === undefined) return undefined;
    const isDelayed = clock.monotonicMs() - startedMs >= DELAYED_MS;
    settler.delivered();
    const isNew = await settler.settle(sets);
    // A transmitter that sends settled events again would otherwise be polled without a pause.
    if (sets.length > 0) return isNew ? BUSY_PAUSE_MS : intervalMs;
    return isLong && !isDelayed ? intervalMs : 0;
  }

  /** Sends the results of earlier events. @returns undefined where a long poll got no response: a transmitter may delay it for longer */
  async function send(isLong: boolean): Promise<PolledSets | undefined> {
    const results = settler.results();
    // The events that are not acknowledged come again, beside new ones.
    const body = { maxEvents: MAX_EVENTS + settler.held, returnImmediately: !isLong, ...results };
    try {
      return await poll(body, isLong ? LONG_POLL_MS : SHORT_POLL_MS);
    } catch (error) {
      if (isLong && error instanceof TransmitterError && isTimeout(error.cause)) return undefined;
      throw error;
    }
  }

  return {
    start: (): void => void run(stopping),
    stop: (): void => stopping.abort(),
  };
}

function backOff(failures: number, error: unknown, random: number): number {
  const pauseMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10)) * (0.5 + random / 2);
  return Math.max(pauseMs, error instanceof TransmitterError ? (error.retryAfterSeconds ?? 0) * 1000 : 0);
}

/** Polls a transmitter once, and acknowledges nothing. @returns undefined if that works */
export async function probeTransmitter(transmitter: Transmitter, pollEndpoint: string, options: ClientOptions) {
  try {
    const body = { maxEvents: 1, returnImmediately: true };
    await createPoll(transmitter, pollEndpoint, options)(body, SHORT_POLL_MS);
    return undefined;
  } catch (error) {
    if (!(error instanceof TransmitterError)) throw error;
    const { problem, message: cause } = error;
    return { problem, cause, fix: FIXES[problem] };
  }
}
