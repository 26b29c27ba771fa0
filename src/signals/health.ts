import type { Clock } from '../clock/clock.ts';
import type { Logger } from '../observability/logger.ts';
import { FIXES, TransmitterError, type TransmitterProblem } from './problems.ts';

/** Parts of a transmitter that fail by themselves. */
export type Part = 'poll' | 'keys';

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

/** Whether one transmitter works. */
export interface TransmitterHealth {
  failed(part: Part, error: unknown): void;
  worked(part: Part): void;
  /** A valid signal arrived. */
  signalled(): void;
  /** A poll succeeded. */
  polled(): void;
  /** Epoch milliseconds. Undefined before the first signal. */
  readonly lastSignalMs: number | undefined;
  readonly isAvailable: boolean;
  status(): TransmitterStatus;
  /** Forgets failures that are too old to say anything. */
  sweep(): void;
}

interface Failure {
  readonly problem: TransmitterProblem;
  readonly cause: string;
  readonly sinceMs: number;
  readonly lastMs: number;
}

/** A signal that could not be verified is sent again within minutes. If it is not, the next one may be hours away. */
const KEYS_FAILURE_MS = 10 * 60_000;

export function createHealth(
  name: string,
  channels: readonly string[],
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
): TransmitterHealth {
  const failures = new Map<Part, Failure>();
  let lastSignalMs: number | undefined;
  let lastPollMs: number | undefined;

  const isOld = (part: Part, { lastMs }: Failure): boolean =>
    part === 'keys' && lastMs + KEYS_FAILURE_MS <= clock.wallMs();
  /** The first failure that counts. */
  const first = (): Failure | undefined => [...failures].find(([part, failure]) => !isOld(part, failure))?.[1];

  function drop(part: Part): void {
    if (failures.delete(part) && failures.size === 0) logger.info({ transmitter: name }, 'transmitter is available');
  }

  function sweep(): void {
    for (const [part, failure] of failures) if (isOld(part, failure)) drop(part);
  }

  return {
    failed(part, error) {
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
    worked(part) {
      sweep();
      drop(part);
    },
    signalled() {
      lastSignalMs = clock.wallMs();
    },
    polled() {
      lastPollMs = clock.wallMs();
    },
    get lastSignalMs() {
      return lastSignalMs;
    },
    get isAvailable() {
      return first() === undefined;
    },
    status() {
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
