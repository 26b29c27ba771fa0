import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';

/** Faults in a row that are each one's own bad luck; after them the server is taken to be down. */
const TOLERATED_FAULTS = 3;
/** A server that is down is asked at least this often, by one request: the probe. */
const MAX_PAUSE_MS = 3000;
const FIRST_PAUSE_MS = 250;

/**
 * Keeps callers from waiting for, and hammering, an authorization server that is down: after some faults in a row they are
 * answered at once, while one request at a time finds out whether it is back. Where the last of those faults were answers to
 * one asker, it may be what that one asks that the server fails at: others are still let through.
 */
export interface Breaker {
  /**
   * Runs one attempt, or refuses at once with ERR_STS_UNAVAILABLE.
   * @param asker digest of the subject token; undefined for cambist itself
   */
  run<T>(asker: string | undefined, attempt: () => Promise<T>): Promise<T>;
}

/**
 * @param name the authorization server's, for messages
 * @param onChange is told when the server is taken to be down, and when it has answered again
 */
export function createBreaker(name: string, clock: Clock, onChange: (available: boolean) => void = () => {}): Breaker {
  let faults = 0;
  /** To whom the server answered with a fault last, and how often in a row it did so to that one alone. */
  let lastAsker: string | undefined;
  let faultsOfLast = 0;
  let available = true;
  /** The server itself asked for peace until then. */
  let namedUntilMs = Number.NEGATIVE_INFINITY;
  /** It is down, and a probe is finding out whether it is back, or has just found that it is not. */
  let pausedUntilMs = Number.NEGATIVE_INFINITY;

  function note(isAvailable: boolean): void {
    if (isAvailable === available) return;
    available = isAvailable;
    onChange(isAvailable);
  }

  function refuseBefore(ms: number, nowMs: number): void {
    if (ms <= nowMs) return;
    throw new CambistError('ERR_STS_UNAVAILABLE', `authorization server "${name}" is taken to be down and not asked`, {
      retryAfterSeconds: Math.ceil((ms - nowMs) / 1000),
    });
  }

  /** @returns until when nobody is to ask after a fault of an attempt that began at `startedMs` */
  function recordFault(
    { retryAfterSeconds, serverStatus }: CambistError,
    asker: string | undefined,
    startedMs: number,
  ): number {
    const nowMs = clock.monotonicMs();
    faults += 1;
    if (serverStatus === undefined) faultsOfLast = 0;
    else faultsOfLast = asker === lastAsker ? faultsOfLast + 1 : 1;
    lastAsker = asker;
    if (retryAfterSeconds !== undefined) {
      namedUntilMs = Math.max(namedUntilMs, nowMs + 1000 * retryAfterSeconds);
      return nowMs;
    }
    // Counted from the attempt's begin as well, since an attempt may itself take longer than a pause.
    return Math.min(nowMs + pauseMs(faults), startedMs + MAX_PAUSE_MS);
  }

  function recordAnswer(): void {
    faults = 0;
    faultsOfLast = 0;
    note(true);
  }

  return {
    async run(asker, attempt) {
      const startedMs = clock.monotonicMs();
      const isOthers = faultsOfLast >= TOLERATED_FAULTS && asker !== lastAsker;
      refuseBefore(isOthers ? namedUntilMs : Math.max(namedUntilMs, pausedUntilMs), startedMs);
      const probeUntilMs = faults < TOLERATED_FAULTS || isOthers ? undefined : startedMs + MAX_PAUSE_MS;
      if (probeUntilMs !== undefined) pausedUntilMs = probeUntilMs;
      let untilMs = Number.NEGATIVE_INFINITY;
      try {
        const result = await attempt();
        recordAnswer();
        return result;
      } catch (error) {
        if (isFault(error)) {
          untilMs = recordFault(error, asker, startedMs);
          if (faults >= TOLERATED_FAULTS || error.retryAfterSeconds !== undefined) note(false);
        } else if (isAnswer(error)) {
          recordAnswer();
        }
        throw error;
      } finally {
        // An attempt that began before the last probe knows less than that one will.
        const isLastProbe = pausedUntilMs === probeUntilMs;
        pausedUntilMs = isLastProbe || faults === 0 ? untilMs : Math.max(pausedUntilMs, untilMs);
      }
    },
  };
}

/** Grows with each fault. */
function pauseMs(faults: number): number {
  if (faults < TOLERATED_FAULTS) return 0;
  return Math.min(MAX_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (faults - TOLERATED_FAULTS));
}

function isFault(error: unknown): error is CambistError {
  return error instanceof CambistError && error.code === 'ERR_STS_UNAVAILABLE';
}

/** A refusal, or an answer that is of no use, shows that the server is there; what failed on our side shows nothing. */
function isAnswer(error: unknown): boolean {
  return error instanceof CambistError && error.code !== 'ERR_CREDENTIAL_UNAVAILABLE' && error.code !== 'ERR_INTERNAL';
}
