import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import type { CambistError } from '../errors.ts';
import type { CacheResult, Cause, TokenObserver } from '../observability/token-observer.ts';
import { type CachedToken, subjectOf, type TokenCache } from './cache.ts';
import type { Exchange } from './exchange.ts';
import { createFlights } from './flights.ts';
import { type IssuedToken, isSameToken } from './issued-token.ts';
import { isCachedError } from './refusals.ts';
import {
  createCooldown,
  flightKey,
  hasOwnSubject,
  type KeyedRequest,
  keptTokenKey,
  ownerOf,
  requestFor,
  type Session,
  scopesToAdd,
  subjectKey,
  withAddedScopes,
} from './session.ts';
import type { SecondLevel } from './shared-token.ts';

/** The result for a request: no token needed, a cached token, a token in flight, or a cached refusal. */
export type Lookup =
  | { readonly result: 'bypass' }
  | { readonly result: 'hit'; readonly token: IssuedToken }
  | { readonly result: 'joined'; readonly pending: Promise<IssuedToken> }
  | {
      readonly result: 'miss';
      readonly pending: Promise<IssuedToken>;
      /** The result once `pending` is settled: another replica may have had the token. */
      readonly settled: () => CacheResult;
    }
  | { readonly result: 'negative'; readonly error: CambistError };

export interface SteppedUp {
  readonly token: IssuedToken;
  readonly added: readonly string[];
}

interface BrokerOptions {
  readonly cache: TokenCache;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly observer: TokenObserver;
  /** Without a second level, this process has its own cache alone. */
  readonly second?: SecondLevel | undefined;
}

/**
 * Minimum time between two reports of an upstream that take a token from the same key. An upstream that responds with 401 or 404,
 * or opens a session, each time would otherwise cost an exchange each time.
 */
const UPSTREAM_COOLDOWN_MS = 10_000;

/** Minimum delay before retrying a failed refresh. */
const REFRESH_COOLDOWN_MS = 3000;

/** Finds the token for a subject and a route: in the cache, from an exchange in flight, or by a new exchange. */
export type Broker = ReturnType<typeof createBroker>;

export function createBroker({ cache, exchange, clock, observer, second }: BrokerOptions) {
  const flights = createFlights(cache, exchange, second);
  const refused = new WeakSet<IssuedToken>();
  const mayDrop = createCooldown(UPSTREAM_COOLDOWN_MS, clock);
  const mayOpen = createCooldown(UPSTREAM_COOLDOWN_MS, clock);
  const mayEnd = createCooldown(UPSTREAM_COOLDOWN_MS, clock);

  function find(request: KeyedRequest): Lookup {
    const cached = cache.find(request.key);
    if (cached !== undefined) {
      // `usedAtMs` is the present: the cache has just read the clock.
      if (cached.usedAtMs >= cached.refreshAtMs) refresh(request, cached);
      return { result: 'hit', token: cached.token };
    }
    const flight = flights.find(request.key);
    if (flight !== undefined) {
      flight.keepToken = true;
      return { result: 'joined', pending: flight.pending };
    }
    const { subject } = request.session;
    const refusal = subject && cache.refusals.find(subjectKey(subject, request.resource));
    if (refusal !== undefined) return { result: 'negative', error: refusal };
    const started = flights.start(request);
    return { result: 'miss', pending: started.pending, settled: () => started.result };
  }

  /** Requests the next token while the current one is valid. No request waits for it, and a fault affects none. */
  function refresh(request: KeyedRequest, cached: CachedToken): void {
    const next = withAddedScopes(request, flights.addedTo(cached.token));
    if (flights.find(flightKey(next)) !== undefined) return;
    cached.refreshAtMs = clock.monotonicMs() + REFRESH_COOLDOWN_MS;
    flights.start(next, cached.token).pending.catch((error: unknown) => {
      if (!isCachedError(error)) return;
      cache.drop(request.key, 'refused', cached.token);
      second?.dropRefused(request, cached.token);
    });
  }

  function endAt(key: string): void {
    cache.drop(key, 'session_ended');
    flights.keepNone((other) => other === key);
  }

  second?.onSessionEnded(endAt);

  return {
    /**
     * Finds the token for a session on a route. Synchronous, because every request passes here.
     * @param cause is called when the lookup starts an exchange
     * @throws {CambistError} ERR_SUBJECT_TOKEN_MISSING
     */
    lookUp(route: Route, session: Session, cause?: () => Cause): Lookup {
      const request = requestFor(route, session, cause);
      const lookup: Lookup = request === undefined ? { result: 'bypass' } : find(request);
      if (lookup.result === 'miss' && second !== undefined) {
        const count = (): void => observer.cacheLookedUp(route.name, lookup.settled());
        void lookup.pending.then(count, count);
      } else {
        observer.cacheLookedUp(route.name, lookup.result);
      }
      return lookup;
    },
    /**
     * Drops a token that a backend refused with 401, so that the next lookup does not return it again.
     * @returns false when the token replaced another refused token a moment ago. It then stays in the cache, and a new exchange
     *   would be useless.
     */
    dropRefused(route: Route, session: Session, token: IssuedToken): boolean {
      const request = requestFor(route, session);
      const cached = request && cache.find(request.key)?.token;
      if (request !== undefined && cached !== undefined && isSameToken(cached, token)) {
        if (!mayDrop(request.key)) return false;
        cache.drop(request.key, 'refused', cached);
      }
      refused.add(token);
      if (request !== undefined) second?.dropRefused(request, token);
      return true;
    },
    /**
     * Obtains a token with scopes that a backend wants and another token lacks. It replaces the session's token. All requests that wait
     * for the same scopes share one exchange.
     * @returns undefined when the route may not add them, when the token has them all, and when they were refused a moment ago
     */
    stepUp(
      route: Route,
      session: Session,
      token: IssuedToken,
      wanted: readonly string[],
      cause?: () => Cause,
    ): Promise<SteppedUp> | undefined {
      const plain = requestFor(route, session, cause);
      if (plain?.session.subject === undefined || hasOwnSubject(route)) return undefined;
      const cached = cache.find(plain.key)?.token;
      const present = flights.addedTo(token);
      const added = scopesToAdd(route, present, wanted);
      if (added === undefined) return undefined;
      const presentInCache = cached === undefined ? present : flights.addedTo(cached);
      // Another request of the session may have been first.
      if (cached !== undefined && cached !== token && added.every((scope) => presentInCache.includes(scope))) {
        return Promise.resolve({ token: cached, added });
      }
      const request = withAddedScopes(plain, [...new Set([...present, ...presentInCache, ...added])].sort());
      if (cache.refusals.find(subjectKey(plain.session.subject, request.resource)) !== undefined) return undefined;
      const pending = flights.find(flightKey(request))?.pending ?? flights.start(request).pending;
      return pending.then((wider) => ({ token: wider, added }));
    },
    /**
     * Reports that a request without a session id opened a session, which takes over the request's token. During the cooldown the
     * token also stays available to requests without a session id, because each of them may open a session.
     */
    openSession(route: Route, session: Session, id: string, token: IssuedToken): void {
      const request = requestFor(route, session);
      if (request?.session.subject === undefined || hasOwnSubject(route) || refused.has(token)) return;
      if (cache.find(request.key)?.token === token && mayOpen(request.key)) {
        cache.release(request.key, token);
        second?.release(request, token);
      }
      const key = keptTokenKey({ subject: request.session.subject, id }, request.resource);
      cache.give(key, token, ownerOf(request));
      second?.give({ ...request, key, added: flights.addedTo(token) }, token);
    },
    /** Forgets that the authorization server refused the caller, who has consented since. */
    forgetRefusal(route: Route, session: Session): void {
      const request = requestFor(route, session);
      if (request?.session.subject === undefined) return;
      cache.refusals.drop(subjectKey(request.session.subject, request.resource));
    },
    /**
     * Reports that a session is over. Tokens that only this session used are dropped.
     * @param by the client, or the upstream, whose reports have a cooldown because it may repeat them for every request
     */
    endSession(route: Route, session: Session, by: 'client' | 'upstream'): void {
      const request = requestFor(route, session);
      if (request?.session.id === undefined) return;
      if (!flights.hasFor(request.key) && cache.find(request.key) === undefined) return;
      if (by === 'upstream' && !mayEnd(request.key)) return;
      endAt(request.key);
      second?.endSession(request);
    },
    /** Drops everything of these subject tokens. Exchanges in flight for them leave nothing in the cache. */
    dropSubjects(digests: ReadonlySet<string>): void {
      cache.dropSubjects(digests);
      flights.keepNone((key) => digests.has(subjectOf(key)));
    },
    /** Settles when the exchanges that are in flight now are finished. Never rejects. */
    settled: flights.settled,
  };
}
