import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import { createLimiter } from './limiter.ts';
import { createRankedBreaker } from './ranked-breaker.ts';
import type { RankedRequester, Requester } from './requester.ts';

/** Token requests to one authorization server: how many at once, in which order, and none while it is down. */
export interface ExchangeQueue {
  /**
   * Runs a token request at once, in its turn, or not at all.
   * @throws {CambistError} ERR_STS_UNAVAILABLE when the server is down or overloaded, and the errors of the work
   */
  run<T>(requester: Requester, work: () => Promise<T>): Promise<T>;
}

/** Callers that are remembered as accepted, about 100 bytes each. The least recently used caller is forgotten first. */
const MAX_ACCEPTED = 10_000;

/**
 * Any process that reaches the listener can send made-up tokens, and only the authorization server recognizes them. Callers that
 * it has issued a token for therefore go first, and unknown callers share one line for each peer.
 * @param name of the authorization server, for messages
 * @param maxWaitMs longest wait for a turn
 * @param onChange is called when the server is considered down, and when it responds again
 */
export function createExchangeQueue(
  name: string,
  maxWaitMs: number,
  clock: Clock,
  onChange: (available: boolean) => void,
): ExchangeQueue {
  const limiter = createLimiter(name, maxWaitMs);
  const breaker = createRankedBreaker(name, clock, onChange);
  /** Created at the first token, because it allocates all its entries at once. */
  let accepted: LRUCache<string, true> | undefined;

  function rank({ caller, peer }: Requester): RankedRequester {
    return { caller, peer, accepted: caller === undefined || accepted?.get(caller) === true };
  }

  return {
    async run(requester, work) {
      const ranked = rank(requester);
      const { caller } = ranked;
      const result = await limiter.run(ranked, () =>
        // After its turn, a request learns at once that the server is down. Its caller may have been accepted meanwhile.
        breaker.run(ranked.accepted ? ranked : rank(requester), work),
      );
      if (caller !== undefined && !ranked.accepted) {
        accepted ??= new LRUCache({ max: MAX_ACCEPTED });
        accepted.set(caller, true);
      }
      return result;
    },
  };
}
