import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import type { HttpResponse, RequestUrl } from '../tokens/bounded-request.ts';
import { InvalidSignal } from './events.ts';
import { createPause, type Pause } from './pause.ts';
import { readPollResponse } from './poll-response.ts';
import { TransmitterError, unexpectedStatus } from './problems.ts';
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
  /**
   * Applies an event.
   * @throws {InvalidSignal} for an event that the transmitter should not send again; any other error: it should
   */
  readonly take: (token: string) => Promise<void>;
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
/** An event by an unknown key, or with which cambist fails, is tried this often. Its key may be new, or the failure may pass. */
const MAX_ATTEMPTS = 3;

/** The results of the events of earlier polls, for the transmitter. */
interface Settled {
  readonly ack: string[];
  /** By the name of the event, which the transmitter chooses. */
  readonly setErrs: Map<string, { readonly err: string; readonly description: string }>;
}

export function createPoller(options: PollerOptions): Poller {
  const { name, client, locate, forget, intervalMs, take, onResult, clock, random = Math.random } = options;
  const pause = options.pause ?? createPause();
  let settled = nothingSettled();
  /** The events of the last response that were settled. */
  let previous: ReadonlySet<string> = new Set();
  let attempts = new Map<string, number>();
  let maxEvents = MAX_EVENTS;
  let failures = 0;
  /** The last poll got a response. The next one may then be a long one. */
  let isReachable = false;
  let isStopped = false;

  async function run(): Promise<void> {
    while (!isStopped) {
      const pauseMs = await attempt();
      if (isStopped) return;
      await pause.wait(pauseMs);
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
      isReachable = false;
      if (!isStopped) onResult(error);
      failures += 1;
      return backOff(failures, error, random());
    }
  }

  /** @returns how long to wait before the next poll. Undefined where a long poll shows nothing about the transmitter */
  async function poll(): Promise<number | undefined> {
    const url = await locate();
    const isLong = isReachable;
    const told = settled;
    const startedMs = clock.monotonicMs();
    let response: HttpResponse;
    try {
      const body = { maxEvents, returnImmediately: !isLong, ...bodyOf(told) };
      response = await client.post(url, body, isLong ? LONG_POLL_MS : SHORT_POLL_MS);
    } catch (error) {
      if (isLong && error instanceof TransmitterTimeout) {
        // A transmitter may delay its response for longer. A short poll shows whether it is there.
        isReachable = false;
        return undefined;
      }
      if (error instanceof TransmitterTooLarge) maxEvents = Math.max(1, Math.floor(maxEvents / 2));
      throw error;
    }
    checkStatus(response);
    const { sets, moreAvailable } = readPollResponse(response, `transmitter "${name}"`, maxEvents);
    settled = nothingSettled();
    isReachable = true;
    const isNew = sets.some(([jti]) => !previous.has(jti));
    await settle(sets);
    if (!moreAvailable) maxEvents = MAX_EVENTS;
    // A transmitter that sends settled events again would otherwise be asked without a pause.
    if (sets.length > 0) return isNew ? BUSY_PAUSE_MS : intervalMs;
    return isLong && clock.monotonicMs() - startedMs < DELAYED_MS ? intervalMs : 0;
  }

  function checkStatus(response: HttpResponse): void {
    if (response.status === 200) return;
    if (response.status === 404) forget();
    throw unexpectedStatus(`transmitter "${name}": the request for events`, response, clock.wallMs());
  }

  /** @throws the first error that is not the event's fault, after all events */
  async function settle(sets: readonly (readonly [jti: string, token: string])[]): Promise<void> {
    const { ack, setErrs } = settled;
    const tried = new Map<string, number>();
    let failure: { readonly error: unknown } | undefined;
    for (const [jti, token] of sets) {
      try {
        await take(token);
        ack.push(jti);
      } catch (error) {
        const count = (attempts.get(jti) ?? 0) + 1;
        if (isFinal(error, count)) setErrs.set(jti, refusalOf(error));
        else {
          tried.set(jti, count);
          failure ??= { error };
        }
      }
    }
    attempts = tried;
    previous = new Set([...ack, ...setErrs.keys()]);
    if (failure !== undefined) {
      const why = `transmitter "${name}": its events cannot be verified yet`;
      throw new TransmitterError('keys', why, { cause: failure.error });
    }
  }

  return {
    start: () => void run(),
    stop() {
      isStopped = true;
      pause.end();
    },
  };
}

function nothingSettled(): Settled {
  return { ack: [], setErrs: new Map() };
}

/** While keys or the shared cache are unavailable, an event is not at fault. */
function isFinal(error: unknown, attempts: number): boolean {
  if (error instanceof CambistError) return false;
  return (error instanceof InvalidSignal && error.err !== 'invalid_key') || attempts >= MAX_ATTEMPTS;
}

function refusalOf(error: unknown): { readonly err: string; readonly description: string } {
  return error instanceof InvalidSignal
    ? { err: error.err, description: error.message }
    : { err: 'invalid_request', description: 'it cannot be read' };
}

/** @see RFC 8936 section 2.1 */
function bodyOf({ ack, setErrs }: Settled): object {
  return { ...(ack.length > 0 && { ack }), ...(setErrs.size > 0 && { setErrs: Object.fromEntries(setErrs) }) };
}

function backOff(failures: number, error: unknown, random: number): number {
  const pauseMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10)) * (0.5 + random / 2);
  return Math.max(pauseMs, error instanceof TransmitterError ? (error.retryAfterSeconds ?? 0) * 1000 : 0);
}
