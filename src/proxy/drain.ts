import type { Clock } from '../clock/clock.ts';
import type { Logger } from '../observability/logger.ts';
import type { RequestTracker } from './request-tracker.ts';

/** Requests are still served for this time, so that no client loses one on a connection that it reuses at this moment. */
const LEAVE_MS = 3000;

/** Interval of the checks for remaining connections. */
const CHECK_MS = 50;

/** The drain ends after so many checks in a row find no connection, because a client pauses before it connects again. */
const CHECKS = 4;

export interface DrainOptions {
  readonly clock: Clock;
  /** All trackers together have this time. */
  readonly graceMs: number;
  /** Ends the wait. Aborted from the start: requests in flight are expected, and not logged. */
  readonly hurry: AbortSignal | undefined;
  readonly logger: Logger;
  readonly connections: () => number;
}

/**
 * Serves requests for a moment, and closes each connection after its response. Then refuses new requests and waits for those in
 * flight, one tracker after another.
 */
export async function drain(
  trackers: readonly RequestTracker[],
  { clock, graceMs, hurry, logger, connections }: DrainOptions,
): Promise<void> {
  const untilMs = clock.monotonicMs() + graceMs;
  const isExpected = hurry?.aborted ?? false;
  for (const tracker of trackers) tracker.isLeaving = true;
  // Half of a short grace is for the requests that arrive last.
  await noneLeft(connections, Math.min(LEAVE_MS, graceMs / 2), hurry);
  for (const tracker of trackers) {
    const leftMs = Math.max(0, untilMs - clock.monotonicMs());
    const drained = tracker.drain();
    if (tracker.inFlight > 0 && !isExpected) {
      const until = new Date(clock.wallMs() + leftMs).toISOString();
      logger.info({ ...inFlightFields(tracker), until }, 'draining requests in flight; a second signal aborts them');
    }
    await settledWithin(drained, leftMs, hurry);
    if (tracker.inFlight > 0 && !isExpected) {
      const why = hurry?.aborted === true ? 'second signal' : 'shutdown grace elapsed';
      logger.warn(inFlightFields(tracker), `${why}; closing requests in flight`);
    }
  }
}

async function noneLeft(connections: () => number, limitMs: number, hurry: AbortSignal | undefined): Promise<void> {
  if (connections() === 0) return;
  let timer: NodeJS.Timeout | undefined;
  const gone = new Promise<void>((resolve) => {
    let without = 0;
    timer = setInterval(() => {
      without = connections() === 0 ? without + 1 : 0;
      if (without === CHECKS) resolve();
    }, CHECK_MS);
  });
  await settledWithin(gone, limitMs, hurry);
  clearInterval(timer);
}

function inFlightFields({ inFlight, openStreams }: RequestTracker): { in_flight: number; open_streams: number } {
  return { in_flight: inFlight, open_streams: openStreams };
}

/**
 * Waits for the work, but not longer than a time limit or until `hurry` aborts.
 * @param ms negative if the time is already over, for which Node would print a warning
 */
export async function settledWithin(work: Promise<unknown>, ms: number, hurry: AbortSignal | undefined): Promise<void> {
  if (hurry?.aborted === true) return;
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    work,
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.max(0, ms));
      hurry?.addEventListener('abort', () => resolve(), { once: true });
    }),
  ]);
  clearTimeout(timer);
}
