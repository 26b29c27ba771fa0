import { describeError, type ErrorCode } from '../error-catalogue.ts';
import type { Diagnosis } from '../errors.ts';

/** Failures with one code on one route, as the status page shows them. Contains nothing of requests, and of callers only redacted names. */
interface RecentFailure {
  readonly route: string | undefined;
  readonly team: string | undefined;
  readonly error: ErrorCode;
  readonly count: number;
  /** Epoch milliseconds of the last failure. */
  readonly lastMs: number;
  /** The last diagnosis, if one is known. */
  readonly diagnosis: Diagnosis | undefined;
}

export type RecentFailures = ReturnType<typeof createRecentFailures>;

/** A person looks through no more. */
const MAX_KINDS = 50;

/** Remembers the most recent kinds of failure. A flood of one kind does not displace the others. */
export function createRecentFailures(nowMs: () => number) {
  const kinds = new Map<string, RecentFailure>();
  return {
    note(route: string | undefined, error: ErrorCode, diagnosis?: Diagnosis, team?: string): void {
      const key = `${error} ${route} ${team}`;
      const before = kinds.get(key);
      const count = (before?.count ?? 0) + 1;
      // Deleted first, so that it moves to the end.
      kinds.delete(key);
      kinds.set(key, { route, team, error, count, lastMs: nowMs(), diagnosis: diagnosis ?? before?.diagnosis });
      for (const oldest of kinds.keys()) {
        if (kinds.size <= MAX_KINDS) break;
        kinds.delete(oldest);
      }
    },
    list: () => [...kinds.values()].reverse(),
  };
}

/** The fix for a status in `/readyz`, if there is one. */
export function fixOf(status: string): string | undefined {
  return status.startsWith('ERR_') ? describeError(status as ErrorCode).fix : undefined;
}
