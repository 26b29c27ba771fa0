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

interface Line {
  inFlight: number;
  /** The turns are in order of arrival. */
  readonly waiting: Set<Turn>;
}

/** All accepted callers, or the unknown callers of one peer. Within a group, callers take turns. */
interface Group {
  readonly rank: 'accepted' | 'unknown';
  inFlight: number;
  waiting: number;
  /** Each caller has a line. The one whose turn is next comes first. */
  readonly lines: Map<string | undefined, Line>;
}

interface Turn {
  start(): void;
  refuse(reason: string): void;
}

/**
 * Accepted callers go first and take turns. Unknown callers follow: peers take turns, and callers of one peer do. A peer that
 * floods with made-up tokens therefore waits behind itself.
 */
export function createLimiter(name: string, maxWaitMs: number) {
  const inFlight = { accepted: 0, unknown: 0 };
  let waiting = 0;
  const acceptedCallers = createGroup('accepted');
  /** Groups that have a request in flight or waiting. The one whose turn is next comes first. */
  const peers = new Map<string | undefined, Group>();

  function groupOf({ accepted, peer }: RankedRequester): Group {
    if (accepted) return acceptedCallers;
    const group = peers.get(peer) ?? createGroup('unknown');
    peers.set(peer, group);
    return group;
  }

  function hasPlace(group: Group, line: Line): boolean {
    if (inFlight.accepted + inFlight.unknown >= MAX_IN_FLIGHT || inFlight[group.rank] >= MAX_IN_FLIGHT_RANK)
      return false;
    return (group.rank === 'accepted' ? line : group).inFlight < MAX_IN_FLIGHT_EACH;
  }

  function count(group: Group, line: Line, change: 1 | -1): void {
    inFlight[group.rank] += change;
    group.inFlight += change;
    line.inFlight += change;
  }

  function waitForTurn(group: Group, line: Line): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        line.waiting.delete(turn);
        group.waiting -= 1;
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
      group.waiting += 1;
      waiting += 1;
      if (waiting > MAX_WAITING) newestOfLongest()?.refuse(`${MAX_WAITING} requests are waiting already`);
    });
  }

  /** The request that makes room when too many wait. Unknown callers make room before accepted ones. */
  function newestOfLongest(): Turn | undefined {
    let group = acceptedCallers;
    for (const peer of peers.values()) {
      if (peer.waiting > 0 && (group === acceptedCallers || peer.waiting >= group.waiting)) group = peer;
    }
    let longest: Line | undefined;
    for (const line of group.lines.values()) {
      if (longest === undefined || line.waiting.size >= longest.waiting.size) longest = line;
    }
    return [...(longest?.waiting ?? [])].at(-1);
  }

  function startWaiting(): void {
    while (waiting > 0 && (startOneOf(acceptedCallers) || startOneOfPeers())) {
      // Each round starts one request.
    }
  }

  function startOneOfPeers(): boolean {
    for (const [peer, group] of peers) {
      if (!startOneOf(group)) continue;
      moveToEnd(peers, peer, group);
      return true;
    }
    return false;
  }

  function startOneOf(group: Group): boolean {
    if (group.waiting === 0) return false;
    for (const [caller, line] of group.lines) {
      const [turn] = line.waiting;
      if (turn === undefined || !hasPlace(group, line)) continue;
      moveToEnd(group.lines, caller, line);
      count(group, line, 1);
      turn.start();
      return true;
    }
    return false;
  }

  /** Forgets a line and a group without requests. */
  function tidy({ caller, peer }: RankedRequester, group: Group, line: Line): void {
    if (line.inFlight === 0 && line.waiting.size === 0 && group.lines.get(caller) === line) group.lines.delete(caller);
    if (group.lines.size === 0 && peers.get(peer) === group) peers.delete(peer);
  }

  return {
    /**
     * Runs work at once, or in its turn.
     * @throws {CambistError} ERR_STS_UNAVAILABLE when no turn came in time, or too many requests are waiting
     */
    async run<T>(requester: RankedRequester, work: () => Promise<T>): Promise<T> {
      const group = groupOf(requester);
      const line: Line = group.lines.get(requester.caller) ?? { inFlight: 0, waiting: new Set() };
      group.lines.set(requester.caller, line);
      try {
        if (hasPlace(group, line)) count(group, line, 1);
        else await waitForTurn(group, line);
        try {
          return await work();
        } finally {
          count(group, line, -1);
          startWaiting();
        }
      } finally {
        tidy(requester, group, line);
      }
    },
  };
}

function createGroup(rank: Group['rank']): Group {
  return { rank, inFlight: 0, waiting: 0, lines: new Map() };
}

function moveToEnd<Key, Value>(map: Map<Key, Value>, key: Key, value: Value): void {
  map.delete(key);
  map.set(key, value);
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
  /** Created at the first token, because it allocates all its entries at once. */
  let accepted: LRUCache<string, true> | undefined;

  function rank({ caller, peer }: Requester): RankedRequester {
    return { caller, peer, accepted: caller === undefined || accepted?.get(caller) === true };
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
      if (caller !== undefined && !ranked.accepted) {
        accepted ??= new LRUCache({ max: MAX_ACCEPTED });
        accepted.set(caller, true);
      }
      return result;
    },
  };
}
