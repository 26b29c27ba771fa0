import type { Clock } from '../clock/clock.ts';
import type { Transmitter } from '../config/signals.ts';
import { type HttpResponse, type RequestUrl, toRequestUrl } from '../tokens/bounded-request.ts';
import { createPause, type Pause } from './pause.ts';
import { createEventSettler, type EventSettler, type EventSettlerOptions } from './settle-events.ts';
import {
  type ClientOptions,
  createTransmitterClient,
  FIXES,
  type PolledSets,
  readPollResponse,
  type TransmitterClient,
  TransmitterError,
  type TransmitterProblem,
  TransmitterTimeout,
  TransmitterTooLarge,
} from './transmitter-client.ts';

interface PollerOptions extends Omit<PollSenderOptions, 'settler'> {
  /** Pause between polls at a transmitter that does not delay its responses. */
  readonly intervalMs: number;
  readonly take: EventSettlerOptions['take'];
  /** Called after each poll. @param error undefined after a success */
  readonly onResult: (error: unknown) => void;
  /** Returns a number from 0 to 1, for jitter. */
  readonly random?: () => number;
  readonly pause?: Pause;
}

/** Bounds the work that a transmitter can cause with new events. */
const BUSY_PAUSE_MS = 50;
/** Backoff after a failure: the first delay, and the longest. */
const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 60_000;

/** Polls a transmitter for events until it is stopped (RFC 8936). */
export type Poller = ReturnType<typeof createPoller>;

export function createPoller(options: PollerOptions) {
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

  /** @returns the delay before the next attempt in milliseconds */
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

  /** @returns the delay before the next poll in milliseconds, or undefined where a long poll shows nothing about the transmitter */
  async function poll(): Promise<number | undefined> {
    const polled = await sender.send();
    if (polled === undefined) return undefined;
    const isNew = await settler.settle(polled.sets);
    // A transmitter that sends settled events again would otherwise be polled without a pause.
    if (polled.sets.length > 0) return isNew ? BUSY_PAUSE_MS : intervalMs;
    return polled.isQuiet ? intervalMs : 0;
  }

  return {
    start: (): void => void run(),
    stop(): void {
      isStopped = true;
      pause.end();
    },
  };
}

function backOff(failures: number, error: unknown, random: number): number {
  const pauseMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10)) * (0.5 + random / 2);
  return Math.max(pauseMs, error instanceof TransmitterError ? (error.retryAfterSeconds ?? 0) * 1000 : 0);
}

interface Polled extends PolledSets {
  /** The transmitter responded at once, although it could have waited for an event. */
  readonly isQuiet: boolean;
}

interface PollSenderOptions {
  /** Name of the transmitter. */
  readonly name: string;
  readonly client: Pick<TransmitterClient, 'post' | 'unexpected'>;
  readonly url: RequestUrl;
  readonly clock: Clock;
  readonly settler: Pick<EventSettler, 'results' | 'delivered' | 'held' | 'release'>;
}

/** Most events of one poll. A response may have 256 KiB, and an event has a few hundred bytes. */
export const MAX_EVENTS = 50;
/** Longest wait for the response to a poll that wants it at once. */
const SHORT_POLL_MS = 10_000;
/** Longest wait for an event at the transmitter. Gateways often close a request after a minute. */
const LONG_POLL_MS = 30_000;
/** A response without events within this time was not delayed. */
const DELAYED_MS = 1000;

/** Sends polls to a transmitter. */
function createPollSender({ name, client, url, clock, settler }: PollSenderOptions) {
  let maxEvents = MAX_EVENTS;
  /** The last poll got a response. The next one may then be a long one. */
  let isReachable = false;

  /** The response is undefined where a long poll got none. A transmitter may delay it for longer. */
  async function post(isLong: boolean): Promise<{ readonly response: HttpResponse | undefined; readonly max: number }> {
    const results = settler.results();
    // The events that are not acknowledged come again, beside new ones.
    const max = maxEvents + settler.held;
    try {
      const body = { maxEvents: max, returnImmediately: !isLong, ...results };
      return { response: await client.post(url, body, isLong ? LONG_POLL_MS : SHORT_POLL_MS), max };
    } catch (error) {
      if (isLong && error instanceof TransmitterTimeout) return { response: undefined, max };
      if (error instanceof TransmitterTooLarge) {
        maxEvents = Math.max(1, Math.floor(maxEvents / 2));
        settler.release();
      }
      throw error;
    }
  }

  return {
    /**
     * Sends one poll, with the results of earlier events. It is a long one after a success.
     * @returns undefined where a long poll shows nothing about the transmitter, so that a short one must follow
     * @throws {TransmitterError}
     */
    async send(): Promise<Polled | undefined> {
      const isLong = isReachable;
      const startedMs = clock.monotonicMs();
      const { response, max } = await post(isLong);
      isReachable = response !== undefined;
      if (response === undefined) return undefined;
      if (response.status !== 200) throw client.unexpected('the request for events', response);
      const polled = readPollResponse(response, `transmitter "${name}"`, max);
      settler.delivered();
      if (!polled.moreAvailable) maxEvents = MAX_EVENTS;
      const isQuiet = polled.sets.length === 0 && isLong && clock.monotonicMs() - startedMs < DELAYED_MS;
      return { ...polled, isQuiet };
    },
    /** Makes the next poll a short one, which shows whether the transmitter is there. */
    failed(): void {
      isReachable = false;
    },
  };
}

interface PollProblem {
  readonly problem: TransmitterProblem;
  readonly cause: string;
  readonly fix: string;
}

/** Polls a transmitter once, and acknowledges nothing. @returns undefined if that works */
export async function probeTransmitter(
  transmitter: Transmitter,
  pollEndpoint: string,
  options: ClientOptions,
): Promise<PollProblem | undefined> {
  const client = createTransmitterClient(transmitter, options);
  try {
    const body = { maxEvents: 1, returnImmediately: true };
    const response = await client.post(toRequestUrl(pollEndpoint), body, SHORT_POLL_MS);
    if (response.status !== 200) throw client.unexpected('the request for events', response);
    readPollResponse(response, `transmitter "${transmitter.name}"`, 1);
    return undefined;
  } catch (error) {
    if (!(error instanceof TransmitterError)) throw error;
    const { problem, message: cause } = error;
    return { problem, cause, fix: FIXES[problem] };
  }
}
