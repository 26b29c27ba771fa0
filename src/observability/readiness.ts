import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError, type Diagnosis } from '../errors.ts';
import type { Logger } from './logger.ts';

export interface ReadinessCheck {
  /** Config key of the thing that is checked. */
  readonly name: string;
  run(): Promise<unknown>;
}

type CheckStatus = 'ready' | 'waiting' | ErrorCode;

/** The body of `/readyz`. It contains only names and codes, because anyone who reaches the port can read it. */
export interface ReadinessReport {
  readonly ready: boolean;
  readonly checks: Readonly<Record<string, CheckStatus>>;
}

/** Runs each readiness check until it has succeeded once. */
export type Readiness = ReturnType<typeof createReadiness>;

const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 5000;

interface CheckState {
  readonly check: ReadinessCheck;
  status: CheckStatus;
  diagnosis: Diagnosis | undefined;
  /** A later config no longer has this check. */
  isAbandoned: boolean;
  timer: NodeJS.Timeout | undefined;
}

export function createReadiness(logger: Logger) {
  let states: Map<string, CheckState> | undefined;
  let stopped = false;

  async function attempt(state: CheckState, retryMs: number): Promise<void> {
    const { check } = state;
    try {
      await check.run();
      if (state.isAbandoned) return;
      state.status = 'ready';
      logger.info({ check: check.name }, 'ready');
    } catch (error) {
      if (state.isAbandoned) return;
      noteFailure(state, error);
      state.timer = setTimeout(() => void attempt(state, Math.min(MAX_RETRY_MS, 2 * retryMs)), retryMs);
    }
  }

  /** Ignores the result of an attempt in flight as well. The same check of a later config makes its own attempts. */
  function abandon(state: CheckState): void {
    state.isAbandoned = true;
    clearTimeout(state.timer);
  }

  /** Logs each cause once, not once for every retry. */
  function noteFailure(state: CheckState, error: unknown): void {
    const [status, diagnosis] =
      error instanceof CambistError ? [error.code, error.diagnosis] : (['ERR_INTERNAL', undefined] as const);
    if (state.status !== status)
      logger.warn({ check: state.check.name, error: status, err: error, ...diagnosis }, 'not ready');
    state.status = status;
    state.diagnosis = diagnosis;
  }

  return {
    /** Replaces the checks. A check that succeeded under the same key stays ready. */
    require(checks: ReadonlyMap<string, ReadinessCheck>): void {
      if (stopped) return;
      const before = states ?? new Map<string, CheckState>();
      for (const [key, state] of before) if (!checks.has(key)) abandon(state);
      states = new Map();
      for (const [key, check] of checks) {
        const known = before.get(key);
        const state = known ?? { check, status: 'waiting', diagnosis: undefined, isAbandoned: false, timer: undefined };
        states.set(key, state);
        if (known === undefined) void attempt(state, FIRST_RETRY_MS);
      }
    },
    report(): ReadinessReport {
      const entries = [...(states?.values() ?? [])].map(({ check, status }) => [check.name, status] as const);
      const ready = states !== undefined && !stopped && entries.every(([, status]) => status === 'ready');
      return { ready, checks: Object.fromEntries(entries) };
    },
    /** Why a check fails. Undefined if the cause is unknown. @param name of the check */
    diagnosisOf(name: string): Diagnosis | undefined {
      return [...(states?.values() ?? [])].find(({ check }) => check.name === name)?.diagnosis;
    },
    /** Reports not ready from now on, because the process is shutting down. */
    stop(): void {
      stopped = true;
      for (const state of states?.values() ?? []) abandon(state);
    },
  };
}
