import type { Clock } from '../clock/clock.ts';
import type { Route, TokenCredential } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import type { CacheResult, Cause, TokenObserver } from '../observability/token-observer.ts';
import { type CachedToken, type CacheOwner, subjectOf, type TokenCache } from './cache.ts';
import type { Exchange } from './exchange.ts';
import { type IssuedToken, isSameToken } from './issued-token.ts';
import { createCooldown, flightKey, type KeyedRequest, scopesToAdd, withAddedScopes } from './keyed-request.ts';
import { isCachedError, isUnusable } from './refusals.ts';
import { keptTokenKey, type ResourceDigest, resourceDigest, type Session, subjectKey } from './session.ts';
import type { SecondLevel, SharedEntry } from './shared-token.ts';

/** The result for a request: no token needed, a cached token, a token in flight, or a cached refusal. */
export type Lookup =
  | { readonly result: 'bypass' }
  | { readonly result: 'hit'; readonly token: IssuedToken }
  | { readonly result: 'joined'; readonly pending: Promise<IssuedToken> }
  | {
      readonly result: 'miss';
      readonly pending: Promise<IssuedToken>;
      /** The result once `pending` is settled: another replica may have had the token, or the refusal. */
      readonly settled: () => CacheResult;
    }
  | { readonly result: 'negative'; readonly error: CambistError };

/** Finds the token for a subject and a route: in the cache, from an exchange in flight, or by a new exchange. */
export interface Broker {
  /**
   * Finds the token for a session on a route. Synchronous, because every request passes here.
   * @param cause is called when the lookup starts an exchange
   * @throws {CambistError} ERR_SUBJECT_TOKEN_MISSING
   */
  lookUp(route: Route, session: Session, cause?: () => Cause): Lookup;
  /**
   * Reports that a backend refused a token with 401, so that the next lookup does not return it again.
   * @returns false when the token replaced another refused token a moment ago. It then stays in the cache, and a new exchange
   *   would be useless.
   */
  refuse(route: Route, session: Session, token: IssuedToken): boolean;
  /**
   * Reports that a backend wants scopes that a token lacks. One exchange then requests them as well. Its token replaces the
   * session's token.
   * @returns undefined when the route may not add them, when the token has them all, and when they were refused a moment ago
   */
  stepUp(
    route: Route,
    session: Session,
    token: IssuedToken,
    wanted: readonly string[],
    cause?: () => Cause,
  ): Promise<SteppedUp> | undefined;
  /**
   * Reports that a request without a session id opened a session, which takes over the request's token. During the cooldown the
   * token also stays available to requests without a session id, because each of them may open a session.
   */
  openSession(route: Route, session: Session, id: string, token: IssuedToken): void;
  /** Reports that the caller has consented, so that its next lookup asks again. */
  consented(route: Route, session: Session): void;
  /**
   * Reports that a session is over. Tokens that only this session used are dropped.
   * @param by the client, or the upstream, whose reports have a cooldown because it may repeat them for every request
   */
  endSession(route: Route, session: Session, by: 'client' | 'upstream'): void;
  /** Drops everything of these subject tokens. Exchanges in flight for them leave nothing in the cache. */
  dropSubjects(digests: ReadonlySet<string>): void;
  /** Settles when the exchanges that are in flight now are finished. Never rejects. */
  settled(): Promise<unknown>;
}

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

/** An exchange in flight. */
interface Flight {
  /** The key for its token. */
  readonly key: string;
  readonly pending: Promise<IssuedToken>;
  /** False when the session is over meanwhile. The token then goes to the waiting requests, and not into the cache. */
  keepToken: boolean;
  /** `miss` until the second level gives a token or a refusal. */
  result: CacheResult;
}

export function createBroker({ cache, exchange, clock, observer, second }: BrokerOptions): Broker {
  const inFlight = new Map<string, Flight>();
  const refused = new WeakSet<IssuedToken>();
  /** The scopes that were added to a token. */
  const addedTo = new WeakMap<IssuedToken, readonly string[]>();
  const digests = new WeakMap<Route, ResourceDigest>();
  const mayRefuse = createCooldown(UPSTREAM_COOLDOWN_MS, clock);
  const mayOpen = createCooldown(UPSTREAM_COOLDOWN_MS, clock);
  const mayEnd = createCooldown(UPSTREAM_COOLDOWN_MS, clock);

  function digestOf(route: Route): ResourceDigest {
    let digest = digests.get(route);
    if (digest === undefined) {
      digest = resourceDigest(route);
      digests.set(route, digest);
    }
    return digest;
  }

  /** @returns undefined when the route sends no issued token */
  function requestFor(route: Route, session: Session, cause?: () => Cause): KeyedRequest | undefined {
    const { credential } = route;
    if (!('authorizationServer' in credential)) return undefined;
    const owner = sessionFor(credential, session, route);
    const resource = digestOf(route);
    return { route, credential, session: owner, resource, key: keptTokenKey(owner, resource), cause, added: [] };
  }

  function find(request: KeyedRequest): Lookup {
    const cached = cache.find(request.key);
    if (cached !== undefined) {
      // This use is its last: the cache has just read the clock.
      if (cached.usedAtMs >= cached.refreshAtMs) refresh(request, cached);
      return { result: 'hit', token: cached.token };
    }
    const flight = inFlight.get(request.key);
    if (flight !== undefined) {
      flight.keepToken = true;
      return { result: 'joined', pending: flight.pending };
    }
    const { subject } = request.session;
    const refusal = subject && cache.refusals.find(subjectKey(subject, request.resource));
    if (refusal !== undefined) return { result: 'negative', error: refusal };
    const started = startExchange(request);
    return { result: 'miss', pending: started.pending, settled: () => started.result };
  }

  /** Requests the next token while the current one is valid. No request waits for it, and a fault affects none. */
  function refresh(request: KeyedRequest, cached: CachedToken): void {
    const next = withAddedScopes(request, addedTo.get(cached.token) ?? []);
    if (inFlight.has(flightKey(next))) return;
    cached.refreshAtMs = clock.monotonicMs() + REFRESH_COOLDOWN_MS;
    startExchange(next, cached.token).pending.catch((error: unknown) => {
      if (!isCachedError(error)) return;
      cache.drop(request.key, 'refused', cached.token);
      second?.refuse(entryOf(request), cached.token);
    });
  }

  /**
   * Starts one exchange for all requests that arrive meanwhile. It belongs to none of them, so none can cancel it.
   * @param replaced the token that is refreshed
   */
  function startExchange(request: KeyedRequest, replaced?: IssuedToken): Flight {
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
    const { session, resource } = request;
    const { subject } = session;
    try {
      const run = () => runExchange(request, replaced !== undefined);
      const { token, added } =
        second === undefined
          ? { token: await run(), added: request.added }
          : await second.obtain(entryOf(request), run, replaced);
      if (added.length > 0) addedTo.set(token, added);
      const flight = inFlight.get(key);
      if (flight !== undefined && second?.isShared(token)) flight.result = 'shared';
      if (flight?.keepToken) cache.keep(request.key, token, ownerOf(request));
      return token;
    } catch (error) {
      const isShared = error instanceof CambistError && second?.isShared(error) === true;
      const flight = inFlight.get(key);
      if (flight !== undefined && isShared) flight.result = 'negative';
      const isRemembered = isCachedError(error) || (request.added.length > 0 && isUnusable(error));
      if (subject !== undefined && isRemembered && !isShared) cache.refusals.keep(subjectKey(subject, resource), error);
      throw error;
    }
  }

  function runExchange({ route, credential, session, resource, cause }: KeyedRequest, refresh: boolean) {
    return exchange({ route, credential, subject: session.subject, resource, refresh, cause: cause?.() });
  }

  /** The token of a request, as the second level sees it. Its keys do not contain the added scopes. */
  function entryOf({ route, credential, session: { subject }, key, added }: KeyedRequest): SharedEntry {
    const group = subject === undefined ? key : subjectKey(subject, digestOf(route));
    return { route, credential, subject, key, group, added };
  }

  function endAt(key: string): void {
    cache.drop(key, 'session_ended');
    for (const flight of inFlight.values()) if (flight.key === key) flight.keepToken = false;
  }

  second?.onSessionEnded(endAt);

  return {
    lookUp(route, session, cause) {
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
    refuse(route, session, token) {
      const request = requestFor(route, session);
      const cached = request && cache.find(request.key)?.token;
      if (request !== undefined && cached !== undefined && isSameToken(cached, token)) {
        if (!mayRefuse(request.key)) return false;
        cache.drop(request.key, 'refused', cached);
      }
      refused.add(token);
      if (request !== undefined) second?.refuse(entryOf(request), token);
      return true;
    },
    stepUp(route, session, token, wanted, cause) {
      const plain = requestFor(route, session, cause);
      if (plain?.session.subject === undefined || hasOwnSubject(route)) return undefined;
      const cached = cache.find(plain.key)?.token;
      const present = addedTo.get(token) ?? [];
      const added = scopesToAdd(route, present, wanted);
      if (added === undefined) return undefined;
      const presentInCache = cached === undefined ? present : (addedTo.get(cached) ?? []);
      // Another request of the session may have been first.
      if (cached !== undefined && cached !== token && added.every((scope) => presentInCache.includes(scope))) {
        return Promise.resolve({ token: cached, added });
      }
      const request = withAddedScopes(plain, [...new Set([...present, ...presentInCache, ...added])].sort());
      if (cache.refusals.find(subjectKey(plain.session.subject, request.resource)) !== undefined) return undefined;
      const pending = inFlight.get(flightKey(request))?.pending ?? startExchange(request).pending;
      return pending.then((wider) => ({ token: wider, added }));
    },
    openSession(route, session, id, token) {
      const request = requestFor(route, session);
      if (request?.session.subject === undefined || hasOwnSubject(route) || refused.has(token)) return;
      if (cache.find(request.key)?.token === token && mayOpen(request.key)) {
        cache.release(request.key, token);
        second?.release(entryOf(request), token);
      }
      const key = keptTokenKey({ subject: request.session.subject, id }, request.resource);
      cache.give(key, token, ownerOf(request));
      second?.give(entryOf({ ...request, key, added: addedTo.get(token) ?? [] }), token);
    },
    consented(route, session) {
      const request = requestFor(route, session);
      const subject = request?.session.subject;
      if (request === undefined || subject === undefined) return;
      cache.refusals.drop(subjectKey(subject, request.resource));
      second?.consented(entryOf(request));
    },
    endSession(route, session, by) {
      const request = requestFor(route, session);
      if (request?.session.id === undefined) return;
      const isInFlight = [...inFlight.values()].some(({ key }) => key === request.key);
      if (!isInFlight && cache.find(request.key) === undefined) return;
      if (by === 'upstream' && !mayEnd(request.key)) return;
      endAt(request.key);
      second?.endSession(entryOf(request));
    },
    dropSubjects(digests) {
      cache.dropSubjects(digests);
      for (const flight of inFlight.values()) if (digests.has(subjectOf(flight.key))) flight.keepToken = false;
    },
    settled: () => Promise.allSettled([...inFlight.values()].map(({ pending }) => pending)),
  };
}

function ownerOf({ route, session }: KeyedRequest): CacheOwner {
  return { route: route.name, subject: session.subject?.digest };
}

/** All callers share one session when the token is for cambist itself. */
const OWN_SESSION: Session = { subject: undefined, id: undefined };

/** The session that owns the token. */
function sessionFor(credential: TokenCredential, session: Session, route: Route): Session {
  if (credential.kind === 'client_credentials') return OWN_SESSION;
  if (session.subject !== undefined)
    return hasOwnSubject(route) ? { subject: session.subject, id: undefined } : session;
  if (credential.onMissingSubject === 'client_credentials') return OWN_SESSION;
  throw new CambistError('ERR_SUBJECT_TOKEN_MISSING', `route "${route.name}": the request has no subject token`);
}

/** A subject token from a file is cambist's own. All sessions that callers open on it are one. */
function hasOwnSubject(route: Route): boolean {
  return route.subjectToken.file !== undefined;
}
