import { CambistError, type ErrorCode } from '../errors.ts';
import type { Logger } from './logger.ts';

/** Something that must have worked once before requests can be served: its name as it stands in the config, and a try. */
export interface Need {
  readonly name: string;
  prepare(): Promise<unknown>;
}

export type NeedStatus = 'ready' | 'waiting' | ErrorCode;

/** What `/readyz` says. Names and codes only: whoever can reach the port may read it. */
export interface ReadinessReport {
  readonly ready: boolean;
  readonly needs: Readonly<Record<string, NeedStatus>>;
}

/** Tries whatever is needed until it has worked once, and knows what is still missing. */
export interface Readiness {
  /** Replaces what is needed; what was ready under the same key stays ready. */
  require(needs: ReadonlyMap<string, Need>): void;
  report(): ReadinessReport;
  /** Not ready from now on: the process is shutting down. */
  stop(): void;
}

const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 5000;

interface NeedState {
  readonly need: Need;
  status: NeedStatus;
  /** Nobody needs it any more. */
  givenUp: boolean;
  /** For the next try. */
  timer: NodeJS.Timeout | undefined;
}

export function createReadiness(logger: Logger): Readiness {
  /** Undefined until it is known what is needed. */
  let states: Map<string, NeedState> | undefined;
  let stopped = false;

  async function attempt(state: NeedState, retryMs: number): Promise<void> {
    const { need } = state;
    try {
      await need.prepare();
      if (state.givenUp) return;
      state.status = 'ready';
      logger.info({ need: need.name }, 'ready');
    } catch (error) {
      if (state.givenUp) return;
      note(state, error);
      state.timer = setTimeout(() => void attempt(state, Math.min(MAX_RETRY_MS, 2 * retryMs)), retryMs);
    }
  }

  /** With whatever try of it is under way: the same need of a later config has tries of its own. */
  function giveUp(state: NeedState): void {
    state.givenUp = true;
    clearTimeout(state.timer);
  }

  /** One line for each cause: a server that is away for an hour is not a thousand. */
  function note(state: NeedState, error: unknown): void {
    const status = error instanceof CambistError ? error.code : 'ERR_INTERNAL';
    if (state.status !== status) logger.warn({ need: state.need.name, error: status, err: error }, 'not ready');
    state.status = status;
  }

  return {
    require(needs) {
      if (stopped) return;
      const before = states ?? new Map<string, NeedState>();
      for (const [key, state] of before) if (!needs.has(key)) giveUp(state);
      states = new Map();
      for (const [key, need] of needs) {
        const known = before.get(key);
        const state = known ?? { need, status: 'waiting', givenUp: false, timer: undefined };
        states.set(key, state);
        if (known === undefined) void attempt(state, FIRST_RETRY_MS);
      }
    },
    report() {
      const entries = [...(states?.values() ?? [])].map(({ need, status }) => [need.name, status] as const);
      const ready = states !== undefined && !stopped && entries.every(([, status]) => status === 'ready');
      return { ready, needs: Object.fromEntries(entries) };
    },
    stop() {
      stopped = true;
      for (const state of states?.values() ?? []) giveUp(state);
    },
  };
}
