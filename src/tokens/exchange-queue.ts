import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import { createRankedBreaker } from './breaker.ts';
import type { RankedRequester, Requester } from './token-request.ts';

/** More than a healthy server needs, and few enough for one that is starting. */
const MAX_IN_FLIGHT = 64;
/** Accepted callers leave 8 places to unknown ones, and the reverse, however slow their requests are. */
const MAX_IN_FLIGHT_RANK = 56;
/** One caller, and all unknown callers of one peer together, leave the rest to others. */
const MAX_IN_FLIGHT_EACH = 48;
/** Requests that may wait for a turn. */
const MAX_WAITING = 1024;

type Rank = 'accepted' | 'unknown';

/** The requests of one accepted caller, or of all unknown callers of one peer. */
interface Line {
  inFlight: number;
  /** The turns are in order of arrival. */
  readonly waiting: Set<Turn>;
}

interface Turn {
  start(): void;
  refuse(reason: string): void;
}

/**
 * Accepted callers go first and take turns. Unknown callers follow, and their peers take turns. A peer that floods with made-up tokens
 * therefore waits behind itself.
 */
export function createLimiter(name: string, maxWaitMs: number) {
  const inFlight = { accepted: 0, unknown: 0 };
  let waiting = 0;
  /** Lines that have a request in flight or waiting, by caller or peer. The one whose turn is next comes first. */
  const lines = { accepted: new Map<string | undefined, Line>(), unknown: new Map<string | undefined, Line>() };

  function hasPlace(rank: Rank, line: Line): boolean {
    const isFull = inFlight.accepted + inFlight.unknown >= MAX_IN_FLIGHT || inFlight[rank] >= MAX_IN_FLIGHT_RANK;
    return !isFull && line.inFlight < MAX_IN_FLIGHT_EACH;
  }

  function count(rank: Rank, line: Line, change: 1 | -1): void {
    inFlight[rank] += change;
    line.inFlight += change;
  }

  function waitForTurn(line: Line): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        line.waiting.delete(turn);
        waiting -= 1;
      };
      const turn: Turn = {
        start() {
          leave();
          resolve();
        },
        refuse(reason) {
          leave();
          reject(new CambistError('ERR_STS_UNAVAILABLE', `authorization server "${name}" is overloaded: ${reason}`));
        },
      };
      const timer = setTimeout(() => turn.refuse(`no turn within ${maxWaitMs} ms`), maxWaitMs);
      line.waiting.add(turn);
      waiting += 1;
      if (waiting > MAX_WAITING) newestOfLongest()?.refuse(`${MAX_WAITING} requests are waiting already`);
    });
  }

  /** The request that makes room when too many wait. Unknown callers make room before accepted ones. */
  function newestOfLongest(): Turn | undefined {
    let newest: Turn | undefined;
    for (const rank of ['accepted', 'unknown'] as const) {
      let longest = 1;
      for (const { waiting: turns } of lines[rank].values()) {
        if (turns.size < longest) continue;
        longest = turns.size;
        newest = [...turns].at(-1);
      }
    }
    return newest;
  }

  function startWaiting(): void {
    while (waiting > 0 && (startOneOf('accepted') || startOneOf('unknown'))) {
      // Each round starts one request.
    }
  }

  function startOneOf(rank: Rank): boolean {
    for (const [key, line] of lines[rank]) {
      const [turn] = line.waiting;
      if (turn === undefined || !hasPlace(rank, line)) continue;
      lines[rank].delete(key);
      lines[rank].set(key, line);
      count(rank, line, 1);
      turn.start();
      return true;
    }
    return false;
  }

  return {
    /**
     * Runs work at once, or in its turn.
     * @throws {CambistError} ERR_STS_UNAVAILABLE when no turn came in time, or too many requests are waiting
     */
    async run<T>({ accepted, caller, peer }: RankedRequester, work: () => Promise<T>): Promise<T> {
      const [rank, key]: [Rank, string | undefined] = accepted ? ['accepted', caller] : ['unknown', peer];
      const line: Line = lines[rank].get(key) ?? { inFlight: 0, waiting: new Set() };
      lines[rank].set(key, line);
      try {
        if (hasPlace(rank, line)) count(rank, line, 1);
        else await waitForTurn(line);
        try {
          return await work();
        } finally {
          count(rank, line, -1);
          startWaiting();
        }
      } finally {
        if (line.inFlight === 0 && line.waiting.size === 0 && lines[rank].get(key) === line) lines[rank].delete(key);
      }
    },
  };
}

/** Callers that are remembered as accepted, about 100 bytes each. The least recently used caller is forgotten first. */
const MAX_ACCEPTED = 10_000;

/** Token requests to one authorization server: how many at once, in which order, and none while it is down. */
export type ExchangeQueue = ReturnType<typeof createExchangeQueue>;

/**
 * Any process that reaches the listener can send made-up tokens, and only the authorization server recognizes them. Callers that
 * it has issued a token for therefore go first, and unknown callers share one line for each peer.
 * @param onChange is called when the server is considered down, and when it responds again
 */
export function createExchangeQueue(
  name: string,
  maxWaitMs: number,
  clock: Clock,
  onChange: (available: boolean) => void,
) {
  const limiter = createLimiter(name, maxWaitMs);
  const breaker = createRankedBreaker(name, clock, onChange);
  // With `max`, the library reserves room for all entries at once.
  const accepted = new LRUCache<string, true>({ maxSize: MAX_ACCEPTED, sizeCalculation: () => 1 });

  function rank({ caller, peer }: Requester): RankedRequester {
    return { caller, peer, accepted: caller === undefined || accepted.get(caller) === true };
  }

  return {
    /**
     * Runs a token request at once, in its turn, or not at all.
     * @throws {CambistError} ERR_STS_UNAVAILABLE when the server is down or overloaded, and the errors of the work
     */
    async run<T>(requester: Requester, work: () => Promise<T>): Promise<T> {
      const ranked = rank(requester);
      const { caller } = ranked;
      const result = await limiter.run(ranked, () =>
        // After its turn, a request learns at once that the server is down. Its caller may have been accepted meanwhile.
        breaker.run(ranked.accepted ? ranked : rank(requester), work),
      );
      if (caller !== undefined && !ranked.accepted) accepted.set(caller, true);
      return result;
    },
  };
}
