import { describeError, type ErrorCode } from '../errors.ts';

/** Failures of one kind on one route, as the status page shows them: no caller, no request. */
export interface RecentFailure {
  /** Undefined where no route matched. */
  readonly route: string | undefined;
  readonly error: ErrorCode;
  readonly count: number;
  /** Epoch milliseconds of the last one. */
  readonly lastMs: number;
}

export interface RecentFailures {
  note(route: string | undefined, error: ErrorCode): void;
  /** The last first. */
  list(): RecentFailure[];
}

/** As many as a person looks through. */
const MAX_KINDS = 50;

/** Remembers the kinds of failure that came last; a flood of one kind leaves the others where they are. */
export function createRecentFailures(nowMs: () => number): RecentFailures {
  const kinds = new Map<string, RecentFailure>();
  return {
    note(route, error) {
      const key = `${error} ${route}`;
      const count = (kinds.get(key)?.count ?? 0) + 1;
      // Deleted first, so that the last one stands last.
      kinds.delete(key);
      kinds.set(key, { route, error, count, lastMs: nowMs() });
      for (const oldest of kinds.keys()) {
        if (kinds.size <= MAX_KINDS) break;
        kinds.delete(oldest);
      }
    },
    list: () => [...kinds.values()].reverse(),
  };
}

/** What to do about a status of `/readyz`, or undefined where there is nothing. */
export function fixOf(status: string): string | undefined {
  return status.startsWith('ERR_') ? describeError(status as ErrorCode).fix : undefined;
}
