import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/config.ts';
import { CambistError, type ErrorCode } from '../errors.ts';
import type { Cause, TokenObserver } from '../observability/token-observer.ts';
import type { CachedToken, Holder, TokenCache } from './cache.ts';
import type { Exchange, TokenCredential } from './exchange.ts';
import type { IssuedToken } from './issued.ts';
import { createPacer } from './pacer.ts';
import { createTokenKeys, type ResourceDigest, resourceDigest, type Session, subjectKey } from './session.ts';
import { scopesToAdd, withScopes } from './step-up.ts';

/** What the broker has for a request: nothing to do, a token, one on its way, or a refusal that it remembers. */
export type Lookup =
  | { readonly result: 'bypass' }
  | { readonly result: 'hit'; readonly token: IssuedToken }
  | { readonly result: 'miss' | 'joined'; readonly pending: Promise<IssuedToken> }
  | { readonly result: 'negative'; readonly error: CambistError };

/** Subject and route in, bearer out: from the cache, from an exchange under way, or from a new one. */
export interface Broker {
  /**
   * The token for a session on a route. Synchronous where it is known, since every request passes here.
   * @param cause is asked where the look-up leads to an exchange
   * @throws {CambistError} ERR_SUBJECT_TOKEN_MISSING
   */
  lookUp(route: Route, session: Session, cause?: () => Cause): Lookup;
  /**
   * Says that a backend refused a token with 401, so that the next look-up does not give it again.
   * @returns false where the token took the place of one that was refused a moment ago: then it stays, and another is not
   *   worth asking for
   */
  refuse(route: Route, session: Session, token: IssuedToken): boolean;
  /**
   * Says that a backend wants scopes that a token lacks. One exchange then asks for them as well, and its token is the
   * session's from then on, as long as the one before would have been.
   * @returns undefined where the route may not add them, where nothing is to add, and where that was refused just now
   */
  stepUp(
    route: Route,
    session: Session,
    token: IssuedToken,
    wanted: readonly string[],
    cause?: () => Cause,
  ): Promise<SteppedUp> | undefined;
  /**
   * Says that a request without session id opened a session: its token is that session's from now on. Where the one before
   * has only just gone to a session it is that of both, since the next request may open one as well.
   */
  openSession(route: Route, session: Session, id: string, token: IssuedToken): void;
  /**
   * Says that a session has ended: what only it used is dropped.
   * @param by its client, or the upstream, which may say so to every request and is then heard once in a while
   */
  endSession(route: Route, session: Session, by: 'client' | 'upstream'): void;
}

export interface SteppedUp {
  readonly token: IssuedToken;
  readonly added: readonly string[];
}

export interface BrokerOptions {
  readonly cache: TokenCache;
  readonly exchange: Exchange;
  readonly clock: Clock;
  readonly observer: TokenObserver;
}

/** What is the caller's own and will not change within seconds; faults, and refusals of ourselves, may pass at any time. */
const REMEMBERED: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_INTERACTION_REQUIRED',
  'ERR_EXCHANGE_REFUSED',
]);

/**
 * What an upstream says takes a key its token at most this often: one that says 401 or 404, or opens a session, each time would
 * else cost an exchange each time.
 */
const UPSTREAM_PAUSE_MS = 10_000;

/** After a refresh that failed, the next use that is at least this much later tries again. */
const REFRESH_PAUSE_MS = 3000;

/** One question for a token: who asks, for what, and what the answer is kept under. */
interface Ask {
  readonly route: Route;
  readonly credential: TokenCredential;
  readonly session: Session;
  readonly resource: ResourceDigest;
  readonly key: string;
  readonly cause: (() => Cause) | undefined;
  /** Scopes beside the route's own, in order. */
  readonly added: readonly string[];
}

/** An exchange under way. */
interface Flight {
  /** What its token is to be kept under. */
  readonly key: string;
  readonly pending: Promise<IssuedToken>;
  /** False where the session has ended meanwhile: then only who waits gets the token. */
  wanted: boolean;
}

export function createBroker({ cache, exchange, clock, observer }: BrokerOptions): Broker {
  const underWay = new Map<string, Flight>();
  const refused = new WeakSet<IssuedToken>();
  /** What was added to the scopes of a token. */
  const addedTo = new WeakMap<IssuedToken, readonly string[]>();
  const digests = new WeakMap<Route, ResourceDigest>();
  const keyOf = createTokenKeys();
  const mayRefuse = createPacer(UPSTREAM_PAUSE_MS, clock);
  const mayOpen = createPacer(UPSTREAM_PAUSE_MS, clock);
  const mayEnd = createPacer(UPSTREAM_PAUSE_MS, clock);

  function digestOf(route: Route): ResourceDigest {
    let digest = digests.get(route);
    if (digest === undefined) {
      digest = resourceDigest(route);
      digests.set(route, digest);
    }
    return digest;
  }

  function askFor(route: Route, session: Session, cause?: () => Cause): Ask | undefined {
    const { credential } = route;
    if (credential.kind === 'passthrough' || credential.kind === 'none') return undefined;
    const asking = sessionFor(credential, session, route);
    const resource = digestOf(route);
    return { route, credential, session: asking, resource, key: keyOf(asking, resource), cause, added: [] };
  }

  function find(ask: Ask): Lookup {
    const cached = cache.find(ask.key);
    if (cached !== undefined) {
      if (clock.monotonicMs() >= cached.refreshAtMs) refresh(ask, cached);
      return { result: 'hit', token: cached.token };
    }
    const flight = underWay.get(ask.key);
    if (flight !== undefined) {
      flight.wanted = true;
      return { result: 'joined', pending: flight.pending };
    }
    const { subject } = ask.session;
    const remembered = subject && cache.refusal(subjectKey(subject, ask.resource));
    if (remembered !== undefined) return { result: 'negative', error: remembered };
    return { result: 'miss', pending: begin(ask, false) };
  }

  /** Asks for the next token while this one is good; who asked meanwhile does not wait, and a fault harms nobody. */
  function refresh(ask: Ask, cached: CachedToken): void {
    const again = raise(ask, addedTo.get(cached.token) ?? []);
    if (underWay.has(flightKey(again))) return;
    cached.refreshAtMs = clock.monotonicMs() + REFRESH_PAUSE_MS;
    begin(again, true).catch((error: unknown) => {
      if (isRemembered(error)) cache.drop(ask.key, 'refused', cached.token);
    });
  }

  /** One exchange for all who ask meanwhile. It belongs to none of them, so none can cancel it for the others. */
  function begin(ask: Ask, refresh: boolean): Promise<IssuedToken> {
    const key = flightKey(ask);
    const pending = obtain(ask, refresh, key);
    underWay.set(key, { key: ask.key, pending, wanted: true });
    // Before anybody who waits is told, also where it failed as it began; and whoever asked may have gone away.
    const end = () => underWay.delete(key);
    void pending.then(end, end);
    return pending;
  }

  /** @param key of its flight */
  async function obtain(ask: Ask, refresh: boolean, key: string): Promise<IssuedToken> {
    const { route, credential, session, resource } = ask;
    const { subject } = session;
    try {
      const token = await exchange({ route, credential, subject, resource, refresh, cause: ask.cause?.() });
      if (ask.added.length > 0) addedTo.set(token, ask.added);
      if (underWay.get(key)?.wanted) cache.keep(ask.key, token, holderOf(ask));
      return token;
    } catch (error) {
      if (subject !== undefined && isRemembered(error)) cache.keepRefusal(subjectKey(subject, resource), error);
      throw error;
    }
  }

  return {
    lookUp(route, session, cause) {
      const ask = askFor(route, session, cause);
      const lookup: Lookup = ask === undefined ? { result: 'bypass' } : find(ask);
      observer.cacheAnswered(route.name, lookup.result);
      return lookup;
    },
    refuse(route, session, token) {
      const ask = askFor(route, session);
      if (ask !== undefined && cache.find(ask.key)?.token === token) {
        if (!mayRefuse(ask.key)) return false;
        cache.drop(ask.key, 'refused', token);
      }
      refused.add(token);
      return true;
    },
    stepUp(route, session, token, wanted, cause) {
      const plain = askFor(route, session, cause);
      if (plain?.session.subject === undefined || isOurOwn(route)) return undefined;
      const cached = cache.find(plain.key)?.token;
      const have = addedTo.get(token) ?? [];
      const added = scopesToAdd(route, have, wanted);
      if (added === undefined) return undefined;
      const kept = cached === undefined ? have : (addedTo.get(cached) ?? []);
      // Another request of the session may have been first.
      if (cached !== undefined && cached !== token && added.every((scope) => kept.includes(scope))) {
        return Promise.resolve({ token: cached, added });
      }
      const ask = raise(plain, [...new Set([...have, ...kept, ...added])].sort());
      if (cache.refusal(subjectKey(plain.session.subject, ask.resource)) !== undefined) return undefined;
      const pending = underWay.get(flightKey(ask))?.pending ?? begin(ask, false);
      return pending.then((raised) => ({ token: raised, added }));
    },
    openSession(route, session, id, token) {
      const ask = askFor(route, session);
      if (ask?.session.subject === undefined || isOurOwn(route) || refused.has(token)) return;
      if (cache.find(ask.key)?.token === token && mayOpen(ask.key)) cache.release(ask.key, token);
      cache.give(keyOf({ subject: ask.session.subject, id }, ask.resource), token, holderOf(ask));
    },
    endSession(route, session, by) {
      const ask = askFor(route, session);
      if (ask?.session.id === undefined) return;
      const flights = [...underWay.values()].filter(({ key }) => key === ask.key);
      if (flights.length === 0 && cache.find(ask.key) === undefined) return;
      if (by === 'upstream' && !mayEnd(ask.key)) return;
      cache.drop(ask.key, 'session_ended');
      for (const flight of flights) flight.wanted = false;
    },
  };
}

/** The same question for a token with more scopes: what comes back takes the place of the one with fewer. */
function raise(ask: Ask, added: readonly string[]): Ask {
  if (added.length === 0) return ask;
  const resource = `${ask.resource} ${added.join(' ')}`;
  return { ...ask, credential: withScopes(ask.credential, added), resource, added };
}

function holderOf({ route, session }: Ask): Holder {
  return { route: route.name, subject: session.subject?.digest };
}

/** No session id has a line end, as no header has: the scopes of one session cannot be taken for the end of another's id. */
function flightKey({ key, added }: Ask): string {
  return added.length === 0 ? key : `${key}\n${added.join(' ')}`;
}

function isRemembered(error: unknown): error is CambistError {
  return error instanceof CambistError && REMEMBERED.has(error.code);
}

/** All callers are one where the token is for cambist itself. */
const OURSELVES: Session = { subject: undefined, id: undefined };

/** The session that a token is for. */
function sessionFor(credential: TokenCredential, session: Session, route: Route): Session {
  if (credential.kind === 'client_credentials') return OURSELVES;
  if (session.subject !== undefined) return isOurOwn(route) ? { subject: session.subject, id: undefined } : session;
  if (credential.onMissingSubject === 'client_credentials') return OURSELVES;
  throw new CambistError('ERR_SUBJECT_TOKEN_MISSING', `route "${route.name}": the request bears no subject token`);
}

/** A subject token from a file is cambist's own: whatever sessions callers open on it, they are all one. */
function isOurOwn(route: Route): boolean {
  return route.subjectToken.file !== undefined;
}
