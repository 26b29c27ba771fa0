import { CambistError, type ErrorCode } from '../errors.ts';
import type { Logger } from '../logger.ts';

/** Something that must have worked once before requests can be served. */
export interface Need {
  /** As it stands in the config file, for `/readyz` and the log. */
  readonly name: string;
  prepare(): Promise<void>;
}

/** What `/readyz` says. Names and codes only: whoever can reach the port may read it. */
export interface ReadinessReport {
  readonly ready: boolean;
  readonly authorization_servers: Readonly<Record<string, 'ready' | 'waiting' | ErrorCode>>;
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

export function createReadiness(logger: Logger): Readiness {
  let states = new Map<string, { readonly need: Need; status: 'ready' | 'waiting' | ErrorCode }>();
  const timers = new Set<NodeJS.Timeout>();
  let stopped = false;

  async function attempt(key: string, retryMs: number): Promise<void> {
    const state = states.get(key);
    if (state === undefined || stopped) return;
    try {
      await state.need.prepare();
      state.status = 'ready';
      logger.info({ authorization_server: state.need.name }, 'authorization server is ready');
    } catch (error) {
      const status = error instanceof CambistError ? error.code : 'ERR_INTERNAL';
      // Once for each cause: a server that is away for an hour is one line and not a thousand.
      if (state.status !== status) {
        logger.warn(
          { authorization_server: state.need.name, code: status, err: error },
          'authorization server is not ready',
        );
      }
      state.status = status;
      const timer = setTimeout(() => {
        timers.delete(timer);
        void attempt(key, Math.min(MAX_RETRY_MS, 2 * retryMs));
      }, retryMs);
      timers.add(timer);
    }
  }

  return {
    require(needs) {
      const before = states;
      states = new Map();
      for (const [key, need] of needs) {
        const known = before.get(key);
        states.set(key, known ?? { need, status: 'waiting' });
        if (known === undefined) void attempt(key, FIRST_RETRY_MS);
      }
    },
    report() {
      const entries = [...states.values()].map(({ need, status }) => [need.name, status] as const);
      const ready = !stopped && entries.every(([, status]) => status === 'ready');
      return { ready, authorization_servers: Object.fromEntries(entries) };
    },
    stop() {
      stopped = true;
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
