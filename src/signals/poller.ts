import type { Clock } from '../clock/clock.ts';
import type { HttpResponse, RequestUrl } from '../tokens/bounded-request.ts';
import { createPause, type Pause } from './pause.ts';
import { readPollResponse } from './poll-response.ts';
import type { PollTurns } from './poll-turns.ts';
import { TransmitterError, unexpectedStatus } from './problems.ts';
import { createEventSettler, type EventSettlerOptions } from './settle-events.ts';
import { type TransmitterClient, TransmitterTimeout, TransmitterTooLarge } from './transmitter-client.ts';

/** Asks a transmitter for events until it is stopped (RFC 8936). */
export interface Poller {
  start(): void;
  stop(): void;
}

export interface PollerOptions {
  /** Name of the transmitter. */
  readonly name: string;
  readonly client: Pick<TransmitterClient, 'post'>;
  /** Finds the URL. @throws {TransmitterError} */
  readonly locate: () => Promise<RequestUrl>;
  /** The transmitter does not know the URL any more. */
  readonly forget: () => void;
  /** Pause between polls at a transmitter that does not delay its responses. */
  readonly intervalMs: number;
  readonly take: EventSettlerOptions['take'];
  /** The turns of replicas. Undefined: this one polls alone. */
  readonly turns?: PollTurns | undefined;
  /** Called after each poll. @param error undefined after a success */
  readonly onResult: (error: unknown) => void;
  readonly clock: Clock;
  /** From 0 to 1, for jitter. */
  readonly random?: () => number;
  readonly pause?: Pause;
}

/** Most events of one poll. A response may have 256 KiB, and an event has a few hundred bytes. */
export const MAX_EVENTS = 50;
/** How long a transmitter may take to respond to a poll that asks for a response at once. */
const SHORT_POLL_MS = 10_000;
/** How long a transmitter may delay its response until there is an event. Gateways often close a request after a minute. */
const LONG_POLL_MS = 30_000;
/** A response without events within this time was not delayed. */
const DELAYED_MS = 1000;
/** Bounds the work that a transmitter can cause with new events. */
const BUSY_PAUSE_MS = 50;
/** The pause after a failure: at first, and at most. */
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 60_000;

export function createPoller(options: PollerOptions): Poller {
  const { name, client, locate, forget, intervalMs, turns, onResult, clock, random = Math.random } = options;
  const pause = options.pause ?? createPause();
  const settler = createEventSettler(options);
  let maxEvents = MAX_EVENTS;
  let failures = 0;
  /** The last poll got a response. The next one may then be a long one. */
  let isReachable = false;
  /** The transmitter responded at once, without an event. */
  let isQuiet = false;
  let isStopped = false;

  async function run(): Promise<void> {
    while (!isStopped) {
      const pauseMs = await attempt();
      if (isStopped) return;
      await pause.wait(pauseMs);
      if (turns !== undefined && isQuiet && settler.isIdle) await awaitTurn(turns);
    }
  }

  async function awaitTurn({ leftMs, announce }: PollTurns): Promise<void> {
    for (let waitMs = leftMs(); waitMs > 0 && !isStopped; waitMs = leftMs()) await pause.wait(waitMs);
    if (!isStopped) announce();
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
      isReachable = false;
      isQuiet = false;
      if (!isStopped) onResult(error);
      failures += 1;
      return backOff(failures, error, random());
    }
  }

  /** @returns how long to wait before the next poll. Undefined where a long poll shows nothing about the transmitter */
  async function poll(): Promise<number | undefined> {
    const url = await locate();
    const isLong = isReachable;
    const results = settler.results();
    // Beside those that come again because they are not acknowledged.
    const max = maxEvents + settler.held;
    const startedMs = clock.monotonicMs();
    let response: HttpResponse;
    try {
      const body = { maxEvents: max, returnImmediately: !isLong, ...results };
      response = await client.post(url, body, isLong ? LONG_POLL_MS : SHORT_POLL_MS);
    } catch (error) {
      if (isLong && error instanceof TransmitterTimeout) {
        // A transmitter may delay its response for longer. A short poll shows whether it is there.
        isReachable = false;
        return undefined;
      }
      if (error instanceof TransmitterTooLarge) {
        maxEvents = Math.max(1, Math.floor(maxEvents / 2));
        settler.release();
      }
      throw error;
    }
    checkStatus(response);
    const { sets, moreAvailable } = readPollResponse(response, `transmitter "${name}"`, max);
    settler.delivered();
    isReachable = true;
    const isNew = await settler.settle(sets);
    if (!moreAvailable) maxEvents = MAX_EVENTS;
    isQuiet = sets.length === 0 && isLong && clock.monotonicMs() - startedMs < DELAYED_MS;
    // A transmitter that sends settled events again would otherwise be asked without a pause.
    if (sets.length > 0) return isNew ? BUSY_PAUSE_MS : intervalMs;
    return isQuiet ? intervalMs : 0;
  }

  function checkStatus(response: HttpResponse): void {
    if (response.status === 200) return;
    if (response.status === 404) forget();
    throw unexpectedStatus(`transmitter "${name}": the request for events`, response, clock.wallMs());
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
