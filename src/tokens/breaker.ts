import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';
import { isPassing } from './bounded-request.ts';
import type { RankedRequester } from './token-request.ts';

/** The breaker opens at this number of faults in a row. */
const TOLERATED_FAULTS = 3;
/** Longest time between two probes of a server that is down. */
const MAX_PAUSE_MS = 3000;
const FIRST_PAUSE_MS = 250;

/**
 * Protects an authorization server that is down, and callers from waiting for it. After several faults in a row it refuses at
 * once, and lets one request at a time through as a probe. If all those faults were responses to a single caller, that
 * caller's requests may be their cause: other callers are still let through.
 */
type Breaker = ReturnType<typeof createBreaker>;

/**
 * @param onChange is called when the server is considered down, and when it responds again
 * @param onResponse is called after each response, refusals included
 */
function createBreaker(
  name: string,
  clock: Clock,
  onChange: (available: boolean) => void = () => {},
  onResponse: () => void = () => {},
) {
  let faults = 0;
  /** The caller of the last fault, and the faults in a row that were responses to this caller alone. */
  let lastCaller: string | undefined;
  let faultsOfLast = 0;
  let lastCode: ErrorCode = 'ERR_STS_UNAVAILABLE';
  let available = true;
  /** End of the pause that the server itself named. */
  let namedUntilMs = Number.NEGATIVE_INFINITY;
  /** While the breaker is open: no probe before then. Either one is in flight, or one has just failed. */
  let pausedUntilMs = Number.NEGATIVE_INFINITY;

  function note(isAvailable: boolean): void {
    if (isAvailable === available) return;
    available = isAvailable;
    onChange(isAvailable);
  }

  function refuseBefore(ms: number, nowMs: number): void {
    if (ms <= nowMs) return;
    const isInvalid = lastCode === 'ERR_STS_METADATA_INVALID';
    const state = isInvalid ? 'has invalid metadata' : 'is considered down';
    throw new CambistError(lastCode, `authorization server "${name}" ${state}; request not sent`, {
      retryAfterSeconds: Math.ceil((ms - nowMs) / 1000),
    });
  }

  /** @returns the time of the next probe, after a fault of an attempt that started at `startedMs` */
  function recordFault(
    { code, retryAfterSeconds, serverStatus }: CambistError,
    caller: string | undefined,
    startedMs: number,
  ): number {
    const nowMs = clock.monotonicMs();
    faults += 1;
    lastCode = code;
    if (serverStatus === undefined) faultsOfLast = 0;
    else faultsOfLast = caller === lastCaller ? faultsOfLast + 1 : 1;
    lastCaller = caller;
    if (retryAfterSeconds !== undefined) {
      namedUntilMs = Math.max(namedUntilMs, nowMs + 1000 * retryAfterSeconds);
      return nowMs;
    }
    // Also counted from the start of the attempt, because an attempt can take longer than a pause.
    return Math.min(nowMs + pauseMs(faults), startedMs + MAX_PAUSE_MS);
  }

  function recordResponse(): void {
    faults = 0;
    faultsOfLast = 0;
    note(true);
    onResponse();
  }

  /** Tells whether the breaker lets this caller through as a probe only. */
  function isOpenFor(caller: string | undefined): boolean {
    const isAboutOther = faultsOfLast >= TOLERATED_FAULTS && caller !== lastCaller;
    return faults >= TOLERATED_FAULTS && !isAboutOther;
  }

  return {
    isOpenFor,
    /** @throws {CambistError} ERR_STS_UNAVAILABLE during a pause that the server named in `Retry-After` */
    checkPause: (): void => refuseBefore(namedUntilMs, clock.monotonicMs()),
    /** Closes the breaker after a response to a request that did not pass through it. */
    close(): void {
      recordResponse();
      pausedUntilMs = Number.NEGATIVE_INFINITY;
    },
    /** False from the fault that opens the breaker, or names a pause, to the next response. */
    get available() {
      return available;
    },
    /**
     * Runs one attempt.
     * @param caller identifies the caller; undefined for cambist itself
     * @param probing lets the attempt through only as a probe, even while this breaker is closed
     * @throws {CambistError} ERR_STS_UNAVAILABLE when the breaker is open, and the errors of the attempt
     */
    async run<T>(caller: string | undefined, attempt: () => Promise<T>, probing = false): Promise<T> {
      const startedMs = clock.monotonicMs();
      const isProbe = probing || isOpenFor(caller);
      refuseBefore(isProbe ? Math.max(namedUntilMs, pausedUntilMs) : namedUntilMs, startedMs);
      const probeUntilMs = isProbe ? startedMs + MAX_PAUSE_MS : undefined;
      if (probeUntilMs !== undefined) pausedUntilMs = probeUntilMs;
      let untilMs = Number.NEGATIVE_INFINITY;
      try {
        const result = await attempt();
        recordResponse();
        return result;
      } catch (error) {
        if (isFault(error)) {
          untilMs = recordFault(error, caller, startedMs);
          if (faults >= TOLERATED_FAULTS || error.retryAfterSeconds !== undefined) note(false);
        } else if (isResponse(error)) {
          recordResponse();
        }
        throw error;
      } finally {
        // An attempt that started before the last probe does not overrule it.
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

/** The server is unreachable or broken. */
function isFault(error: unknown): error is CambistError {
  // With a 4xx that does not pass, it may be one token that the server cannot process.
  return error instanceof CambistError && FAULTS.has(error.code) && isPassing(error.serverStatus ?? 500);
}

const FAULTS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['ERR_STS_UNAVAILABLE', 'ERR_STS_METADATA_INVALID']);

/** Codes that do not prove that the server works: a fault of it, or a failure on our side. */
const NO_RESPONSE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...FAULTS,
  'ERR_CREDENTIAL_UNAVAILABLE',
  'ERR_INTERNAL',
]);

/** A refusal and an unusable response show that the server is up. */
function isResponse(error: unknown): boolean {
  return error instanceof CambistError && !NO_RESPONSE.has(error.code);
}

/** Far more than the peers that have unknown callers at a time. */
const MAX_PEERS = 1000;
/** Faults of unknown callers count as an outage when no caller has had a response for this long. */
const QUIET_MS = 10_000;

/** @param onChange is called when the server is considered down, and when it responds again */
export function createRankedBreaker(name: string, clock: Clock, onChange: (available: boolean) => void = () => {}) {
  const shared = createBreaker(name, clock, note, responded);
  const peers = new LRUCache<string, Breaker>({ max: MAX_PEERS });
  let available = true;
  let respondedAtMs = Number.NEGATIVE_INFINITY;

  function note(isAvailable: boolean): void {
    if (isAvailable === available) return;
    available = isAvailable;
    onChange(isAvailable);
  }

  function breakerOf(peer = ''): Breaker {
    let breaker = peers.get(peer);
    if (breaker === undefined) {
      breaker = createBreaker(name, clock, undefined, responded);
      peers.set(peer, breaker);
    }
    return breaker;
  }

  /** A token for an unknown caller shows that the server is up for all. Its refusal shows nothing about genuine tokens. */
  async function runUnknown<T>(peer: string | undefined, attempt: () => Promise<T>): Promise<T> {
    const breaker = breakerOf(peer);
    shared.checkPause();
    try {
      // While the server is down for accepted callers, each peer has a probe of its own and cannot use up theirs.
      const result = await breaker.run(undefined, attempt, shared.isOpenFor(peer));
      shared.close();
      return result;
    } catch (error) {
      const isQuiet = clock.monotonicMs() - respondedAtMs > QUIET_MS;
      if (isFault(error) && !breaker.available && isQuiet) note(false);
      throw error;
    }
  }

  /** Any response shows that the server is up, unless accepted callers still find it down. */
  function responded(): void {
    respondedAtMs = clock.monotonicMs();
    if (shared.available) note(true);
  }

  return {
    /** @throws {CambistError} ERR_STS_UNAVAILABLE when a breaker refuses the attempt, and the errors of the attempt */
    run: <T>({ caller, peer, accepted }: RankedRequester, attempt: () => Promise<T>): Promise<T> =>
      accepted ? shared.run(caller, attempt) : runUnknown(peer, attempt),
  };
}
