import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import type { CambistError } from '../errors.ts';
import type { CacheResult, Cause, TokenObserver } from '../observability/token-observer.ts';
import { subjectOf, type TokenCache } from './cache.ts';
import type { CachedToken } from './cache-entries.ts';
import type { Exchange } from './exchange.ts';
import { createFlights } from './flights.ts';
import type { IssuedToken } from './issued-token.ts';
import { isCachedError } from './refusals.ts';
import { flightKey, type KeyedRequest, requestFor, type Session, subjectKey, withAddedScopes } from './session.ts';
import type { SecondLevel } from './shared-token.ts';
import { createStepUp } from './step-up.ts';
import { createUpstreamReports } from './upstream-reports.ts';

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

interface BrokerOptions {
  readonly cache: TokenCache;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly observer: TokenObserver;
  /** Without a second level, this process has its own cache alone. */
  readonly second?: SecondLevel | undefined;
}

/** Minimum delay before retrying a failed refresh. */
const REFRESH_COOLDOWN_MS = 3000;

/** Finds the token for a subject and a route: in the cache, from an exchange in flight, or by a new exchange. */
export type Broker = ReturnType<typeof createBroker>;

export function createBroker({ cache, exchange, clock, observer, second }: BrokerOptions) {
  const flights = createFlights(cache, exchange, second);

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
    stepUp: createStepUp(cache, flights),
    ...createUpstreamReports(cache, flights, clock, second),
    /** Forgets that the authorization server refused the caller, who has consented since. */
    forgetRefusal(route: Route, session: Session): void {
      const request = requestFor(route, session);
      if (request?.session.subject === undefined) return;
      cache.refusals.drop(subjectKey(request.session.subject, request.resource));
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
