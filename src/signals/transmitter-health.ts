import type { Clock } from '../clock/clock.ts';
import { add, expect } from '../observability/counters.ts';
import type { Logger } from '../observability/logger.ts';
import { counter, gauge, type MetricFamily, sample, samplesOf } from '../observability/metric-families.ts';
import { FIXES, TransmitterError, type TransmitterProblem } from './transmitter-client.ts';

/** Parts of a transmitter that fail by themselves. */
type Part = 'poll' | 'keys';

/** A transmitter in `/status.json`. */
export interface TransmitterStatus {
  readonly name: string;
  readonly channels: readonly string[];
  readonly available: boolean;
  /** Missing while it is available. */
  readonly problem?: TransmitterProblem;
  readonly cause?: string;
  readonly fix?: string;
  readonly since?: string;
  /** Missing before the first. */
  readonly last_signal_at?: string;
  /** The last successful poll. Missing before the first. */
  readonly last_poll_at?: string;
}

interface Failure {
  readonly problem: TransmitterProblem;
  readonly cause: string;
  readonly sinceMs: number;
  readonly lastMs: number;
}

/** A signal that could not be verified is sent again within minutes. If it is not, the next one may be hours away. */
const KEYS_FAILURE_MS = 10 * 60_000;

/** Knows whether one transmitter works. */
export type TransmitterHealth = ReturnType<typeof createHealth>;

export function createHealth(
  name: string,
  channels: readonly Channel[],
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
) {
  const signals = new Map(channels.map((channel) => [channel, expect({}, SIGNAL_RESULTS)]));
  const polls = expect({}, channels.includes('poll') ? POLL_RESULTS : []);
  const failures = new Map<Part, Failure>();
  let lastSignalMs: number | undefined;
  let lastPollMs: number | undefined;

  const isOld = (part: Part, { lastMs }: Failure): boolean =>
    part === 'keys' && lastMs + KEYS_FAILURE_MS <= clock.wallMs();
  const first = (): Failure | undefined => [...failures].find(([part, failure]) => !isOld(part, failure))?.[1];

  function drop(part: Part): void {
    if (failures.delete(part) && failures.size === 0) logger.info({ transmitter: name }, 'transmitter is available');
  }

  /** Forgets failures that are too old to say anything. */
  function sweep(): void {
    for (const [part, failure] of failures) if (isOld(part, failure)) drop(part);
  }

  return {
    signals,
    polls,
    received: (channel: Channel, result: SignalResult): void => add(signals.get(channel) ?? {}, result),
    failed(part: Part, error: unknown): void {
      sweep();
      const isExpected = error instanceof TransmitterError;
      const problem = isExpected ? error.problem : 'internal';
      const before = failures.get(part);
      // The message of an unexpected error may contain anything, so it is in the log alone, which redacts.
      const cause = isExpected ? error.message : 'unexpected error: see the log';
      const nowMs = clock.wallMs();
      const isSame = before?.problem === problem;
      failures.set(part, { problem, cause, sinceMs: isSame ? before.sinceMs : nowMs, lastMs: nowMs });
      if (isSame) return;
      const fields = { transmitter: name, reason: problem, err: error, fix: FIXES[problem] };
      if (isExpected) logger.warn(fields, 'transmitter is unavailable; revocations may arrive late');
      else logger.error(fields, 'unexpected error; revocations may arrive late');
    },
    worked(part: Part): void {
      sweep();
      drop(part);
    },
    signalled(): void {
      lastSignalMs = clock.wallMs();
    },
    polled(result: (typeof POLL_RESULTS)[number]): void {
      add(polls, result);
      if (result === 'success') lastPollMs = clock.wallMs();
    },
    /** Epoch milliseconds, after the first signal. */
    get lastSignalMs() {
      return lastSignalMs;
    },
    get isAvailable() {
      return first() === undefined;
    },
    status(): TransmitterStatus {
      const failure = first();
      return {
        name,
        channels,
        available: failure === undefined,
        ...(failure !== undefined && {
          problem: failure.problem,
          cause: failure.cause,
          fix: FIXES[failure.problem],
          since: isoTime(failure.sinceMs),
        }),
        ...(lastSignalMs !== undefined && { last_signal_at: isoTime(lastSignalMs) }),
        ...(lastPollMs !== undefined && { last_poll_at: isoTime(lastPollMs) }),
      };
    },
    sweep,
  };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

export type Channel = 'push' | 'poll' | 'logout';

/**
 * `applied`: something was revoked. `unchanged`: it was revoked before, or is too long ago. `ignored`: an event that revokes nothing.
 * `refused`: invalid or unauthenticated. `failed`: cambist could not check it.
 */
const SIGNAL_RESULTS = ['applied', 'unchanged', 'ignored', 'refused', 'failed'] as const;
type SignalResult = (typeof SIGNAL_RESULTS)[number];

const POLL_RESULTS = ['success', 'failure'] as const;

/** @param health of each transmitter */
export function signalFamilies(
  health: ReadonlyMap<string, TransmitterHealth>,
  revocations: () => number,
): MetricFamily[] {
  return [
    counter('cambist_signals_total', 'Signals of transmitters about revoked tokens, by result.', () =>
      [...health].flatMap(([transmitter, { signals }]) =>
        [...signals].flatMap(([channel, tally]) => samplesOf(tally, (result) => ({ transmitter, channel, result }))),
      ),
    ),
    counter('cambist_signal_polls_total', 'Requests to transmitters for signals, by result.', () =>
      [...health].flatMap(([transmitter, { polls }]) => samplesOf(polls, (result) => ({ transmitter, result }))),
    ),
    gauge('cambist_transmitter_available', 'Whether signals of a transmitter can arrive, as far as known.', () =>
      [...health].map(([transmitter, { isAvailable }]) => sample({ transmitter }, isAvailable ? 1 : 0)),
    ),
    gauge('cambist_signal_last_timestamp_seconds', 'Time of the last valid signal. 0 before the first.', () =>
      [...health].map(([transmitter, { lastSignalMs = 0 }]) => sample({ transmitter }, lastSignalMs / 1000)),
    ),
    gauge('cambist_revocations', 'Revocations in force.', () => [sample({}, revocations())]),
  ];
}
