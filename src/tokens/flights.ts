import type { CacheResult } from '../observability/token-observer.ts';
import type { TokenCache } from './cache.ts';
import type { Exchange } from './exchange.ts';
import type { IssuedToken } from './issued-token.ts';
import { isCachedError, isUnusable } from './refusals.ts';
import { flightKey, type KeyedRequest, ownerOf, subjectKey } from './session.ts';
import type { SecondLevel } from './shared-token.ts';

interface Flight {
  readonly key: string;
  readonly pending: Promise<IssuedToken>;
  /** False when the session is over meanwhile. The token then goes to the waiting requests, and not into the cache. */
  keepToken: boolean;
  /** `miss` until the second level gives a token. */
  result: CacheResult;
}

/** The exchanges in flight. Their tokens and refusals go into the cache. */
export type Flights = ReturnType<typeof createFlights>;

export function createFlights(cache: TokenCache, exchange: Exchange, second: SecondLevel | undefined) {
  const inFlight = new Map<string, Flight>();
  const addedTo = new WeakMap<IssuedToken, readonly string[]>();

  /**
   * Starts one exchange for all requests that arrive meanwhile. It belongs to none of them, so none can cancel it.
   * @param replaced the token that is refreshed
   */
  function start(request: KeyedRequest, replaced?: IssuedToken): Flight {
    const key = flightKey(request);
    const pending = obtain(request, replaced, key);
    const flight: Flight = { key: request.key, pending, keepToken: true, result: 'miss' };
    inFlight.set(key, flight);
    // Runs before any waiting request continues, also when the exchange fails at once. The first request may be gone by then.
    const land = () => inFlight.delete(key);
    void pending.then(land, land);
    return flight;
  }

  /** @param key of its flight */
  async function obtain(request: KeyedRequest, replaced: IssuedToken | undefined, key: string): Promise<IssuedToken> {
    const { route, credential, resource, cause } = request;
    const { subject, actor } = request.session;
    const refresh = replaced !== undefined;
    try {
      const run = () => exchange({ route, credential, subject, actor, resource, refresh, cause: cause?.() });
      const { token, added, isShared } =
        second === undefined
          ? { token: await run(), added: request.added, isShared: false }
          : await second.obtain(request, run, replaced);
      if (added.length > 0) addedTo.set(token, added);
      const flight = inFlight.get(key);
      if (flight !== undefined && isShared) flight.result = 'shared';
      if (flight?.keepToken) cache.keep(request.key, token, ownerOf(request));
      return token;
    } catch (error) {
      const isRemembered = isCachedError(error) || (request.added.length > 0 && isUnusable(error));
      if (subject !== undefined && isRemembered) cache.refusals.keep(subjectKey(subject, resource), error);
      throw error;
    }
  }

  return {
    /** @param key a `flightKey` */
    find: (key: string) => inFlight.get(key),
    start,
    /** Tells whether an exchange for a token with this key is in flight, whatever scopes it adds. */
    hasFor: (key: string) => [...inFlight.values()].some((flight) => flight.key === key),
    /** Keeps the tokens for these keys out of the cache. */
    keepNone(isOver: (key: string) => boolean): void {
      for (const flight of inFlight.values()) if (isOver(flight.key)) flight.keepToken = false;
    },
    addedTo: (token: IssuedToken): readonly string[] => addedTo.get(token) ?? [],
    settled: () => Promise.allSettled([...inFlight.values()].map(({ pending }) => pending)),
  };
}
