import type { Clock } from '../clock/clock.ts';
import type { Logger } from '../observability/logger.ts';
import { FIXES, TransmitterError, type TransmitterProblem } from './problems.ts';

/** Parts of a transmitter that fail by themselves. */
export type Part = 'poll' | 'stream' | 'verification' | 'keys';

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
  polled(): void;
  readonly lastSignalMs: number | undefined;
  readonly isAvailable: boolean;
  status(): TransmitterStatus;
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

  function dropOld(): void {
    const { lastMs = Number.POSITIVE_INFINITY } = failures.get('keys') ?? {};
    if (lastMs + KEYS_FAILURE_MS <= clock.wallMs()) failures.delete('keys');
  }

  return {
    failed(part, error) {
      const problem = error instanceof TransmitterError ? error.problem : 'unreachable';
      dropOld();
      const before = failures.get(part);
      const cause = error instanceof Error ? error.message : 'unknown';
      const nowMs = clock.wallMs();
      const isSame = before?.problem === problem;
      failures.set(part, { problem, cause, sinceMs: isSame ? before.sinceMs : nowMs, lastMs: nowMs });
      if (isSame) return;
      const fields = { transmitter: name, reason: problem, err: error, fix: FIXES[problem] };
      logger.warn(fields, 'transmitter is unavailable; revocations may arrive late');
    },
    worked(part) {
      if (!failures.delete(part) || failures.size > 0) return;
      logger.info({ transmitter: name }, 'transmitter is available');
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
      dropOld();
      return failures.size === 0;
    },
    status() {
      dropOld();
      const [first] = failures.values();
      return {
        name,
        channels,
        available: first === undefined,
        ...(first !== undefined && {
          problem: first.problem,
          cause: first.cause,
          fix: FIXES[first.problem],
          since: isoTime(first.sinceMs),
        }),
        ...(lastSignalMs !== undefined && { last_signal_at: isoTime(lastSignalMs) }),
        ...(lastPollMs !== undefined && { last_poll_at: isoTime(lastPollMs) }),
      };
    },
  };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
