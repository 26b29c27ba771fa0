import { CambistError } from '../errors.ts';
import type { Clock } from './clock.ts';

/** Faults in a row that are each one's own bad luck; after them the server is taken to be down. */
const TOLERATED_FAULTS = 3;
/** A server that is down is asked at least this often, by one request: the probe. */
const MAX_PAUSE_MS = 3000;
const FIRST_PAUSE_MS = 250;

/**
 * Keeps callers from waiting for, and hammering, an authorization server that is down: after some faults in a row they are
 * answered at once, while one request at a time finds out whether it is back.
 */
export interface Breaker {
  /** Runs one attempt, or refuses at once with ERR_STS_UNAVAILABLE. */
  run<T>(attempt: () => Promise<T>): Promise<T>;
}

/** @param name the authorization server's, for messages */
export function createBreaker(name: string, clock: Clock): Breaker {
  let faults = 0;
  let openUntilMs = 0;
  let probing = false;

  function refuseIfDown(): void {
    const waitMs = openUntilMs - clock.monotonicMs();
    const suspect = faults >= TOLERATED_FAULTS;
    if (waitMs <= 0 && !(suspect && probing)) return;
    throw new CambistError('ERR_STS_UNAVAILABLE', `authorization server "${name}" is taken to be down and not asked`, {
      retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1000)),
    });
  }

  function recordFault(error: CambistError): void {
    faults += 1;
    openUntilMs = clock.monotonicMs() + pauseMs(error, faults);
  }

  return {
    async run(attempt) {
      refuseIfDown();
      const isProbe = faults >= TOLERATED_FAULTS;
      if (isProbe) probing = true;
      try {
        const result = await attempt();
        faults = 0;
        return result;
      } catch (error) {
        if (error instanceof CambistError && error.code === 'ERR_STS_UNAVAILABLE') recordFault(error);
        // Any other answer shows that the server is there.
        else if (error instanceof CambistError && error.code !== 'ERR_CREDENTIAL_UNAVAILABLE') faults = 0;
        throw error;
      } finally {
        if (isProbe) probing = false;
      }
    },
  };
}

/** A server that names a time is believed; a pause of ours grows with each fault. */
function pauseMs(error: CambistError, faults: number): number {
  if (error.retryAfterSeconds !== undefined) return error.retryAfterSeconds * 1000;
  if (faults < TOLERATED_FAULTS) return 0;
  return Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (faults - TOLERATED_FAULTS));
}
