import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import { type Breaker, createBreaker, isFault } from './breaker.ts';
import type { RankedRequester } from './requester.ts';

/**
 * A breaker for the callers that a server has accepted, and one for the unknown callers of each peer. Requests with made-up
 * tokens can make a server slow or make it fail; they open the breaker of their own peer's unknown callers only.
 */
export interface RankedBreaker {
  /** @throws {CambistError} ERR_STS_UNAVAILABLE when a breaker refuses the attempt, and the errors of the attempt */
  run<T>(requester: RankedRequester, attempt: () => Promise<T>): Promise<T>;
}

/** Far more than the peers that have unknown callers at a time. */
const MAX_PEERS = 1000;
/** Faults of unknown callers count as an outage when no caller has had a response for this long. */
const QUIET_MS = 10_000;

/**
 * @param name of the authorization server, for messages
 * @param onChange is called when the server is considered down, and when it responds again
 */
export function createRankedBreaker(
  name: string,
  clock: Clock,
  onChange: (available: boolean) => void = () => {},
): RankedBreaker {
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
    run: ({ caller, peer, accepted }, attempt) => (accepted ? shared.run(caller, attempt) : runUnknown(peer, attempt)),
  };
}
