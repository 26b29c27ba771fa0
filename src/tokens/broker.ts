import type { AuthorizationServer, Credential, Route } from '../config/config.ts';
import { readCredential } from '../config/credential.ts';
import { Secret } from '../config/secret.ts';
import { CambistError, type ErrorCode } from '../errors.ts';
import type { CachedToken, TokenCache } from './cache.ts';
import { readClaims } from './claims.ts';
import type { Clock } from './clock.ts';
import { checkAudience, checkNotEnded, type IssuedToken, measureLife } from './issued.ts';
import type { TokenObserver } from './observer.ts';
import { type ResourceDigest, refusalKey, resourceDigest, type Session, tokenKey } from './session.ts';
import type { TokenEndpoint } from './token-endpoint.ts';
import type { Grant } from './token-request.ts';

/** The two kinds of credential that are a token from an authorization server. */
type TokenCredential = Extract<Credential, { authorizationServer: AuthorizationServer }>;

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
   * @throws {CambistError} ERR_SUBJECT_TOKEN_MISSING
   */
  lookUp(route: Route, session: Session): Lookup;
  /** Says that a backend refused a token with 401, so that the next look-up does not give it again. */
  refuse(route: Route, session: Session, token: IssuedToken): void;
  /** Says that a request without session id opened a session: its token is that session's from now on. */
  openSession(route: Route, session: Session, id: string, token: IssuedToken): void;
  /** Says that a session has ended: what only it used is dropped. */
  endSession(route: Route, session: Session): void;
}

export interface BrokerOptions {
  readonly cache: TokenCache;
  readonly endpoint: (server: AuthorizationServer) => TokenEndpoint;
  readonly maxAgeMs: () => number;
  readonly clock: Clock;
  readonly observer: TokenObserver;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
}

/** What is the caller's own and will not change within seconds; faults, and refusals of ourselves, may pass at any time. */
const REMEMBERED: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_INTERACTION_REQUIRED',
  'ERR_EXCHANGE_REFUSED',
]);

/** After a refresh that failed, the next use that is at least this much later tries again. */
const REFRESH_PAUSE_MS = 3000;

/** One question for a token: who asks, for what, and what the answer is kept under. */
interface Ask {
  readonly route: Route;
  readonly credential: TokenCredential;
  readonly session: Session;
  readonly resource: ResourceDigest;
  readonly key: string;
}

/** An exchange under way. */
interface Flight {
  readonly pending: Promise<IssuedToken>;
  /** False where the session has ended meanwhile: then only who waits gets the token. */
  wanted: boolean;
}

export function createBroker({ cache, endpoint, maxAgeMs, clock, observer, random }: BrokerOptions): Broker {
  const underWay = new Map<string, Flight>();
  const refused = new WeakSet<IssuedToken>();
  const digests = new WeakMap<Route, ResourceDigest>();

  function digestOf(route: Route): ResourceDigest {
    let digest = digests.get(route);
    if (digest === undefined) {
      digest = resourceDigest(route);
      digests.set(route, digest);
    }
    return digest;
  }

  function askFor(route: Route, session: Session): Ask | undefined {
    const { credential } = route;
    if (credential.kind === 'passthrough' || credential.kind === 'none') return undefined;
    const asking = sessionFor(credential, session, route.name);
    const resource = digestOf(route);
    return { route, credential, session: asking, resource, key: tokenKey(asking, resource) };
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
    const remembered = subject && cache.refusal(refusalKey(subject, ask.resource));
    if (remembered !== undefined) return { result: 'negative', error: remembered };
    return { result: 'miss', pending: begin(ask, false) };
  }

  /** Asks for the next token while this one is good; who asked meanwhile does not wait, and a fault harms nobody. */
  function refresh(ask: Ask, cached: CachedToken): void {
    if (underWay.has(ask.key)) return;
    cached.refreshAtMs = clock.monotonicMs() + REFRESH_PAUSE_MS;
    begin(ask, true).catch((error: unknown) => {
      if (isRemembered(error)) cache.drop(ask.key, 'refused', cached.token);
    });
  }

  /** One exchange for all who ask meanwhile. It belongs to none of them, so none can cancel it for the others. */
  function begin(ask: Ask, isRefresh: boolean): Promise<IssuedToken> {
    const server = endpoint(ask.credential.authorizationServer);
    const pending = server
      .run(() => exchange(server, ask, isRefresh))
      .then((token) => {
        if (flight.wanted) cache.keep(ask.key, token, ask.route.name);
        return token;
      })
      .catch((error: unknown) => {
        const { subject } = ask.session;
        if (subject !== undefined && isRemembered(error)) cache.keepRefusal(refusalKey(subject, ask.resource), error);
        throw error;
      })
      .finally(() => underWay.delete(ask.key));
    // Whoever asked may have gone away.
    pending.catch(() => {});
    const flight: Flight = { pending, wanted: true };
    underWay.set(ask.key, flight);
    return pending;
  }

  async function exchange(server: TokenEndpoint, ask: Ask, isRefresh: boolean): Promise<IssuedToken> {
    const { route, credential, session } = ask;
    const startedMs = clock.monotonicMs();
    let failure: CambistError | undefined;
    try {
      const answer = await server.requestToken(await grantFor(ask), credential.target);
      checkAudience(answer.accessToken, credential.target.expectAudience, route.name);
      checkNotEnded(answer.accessToken, clock, route.name);
      const bounds = {
        sentAtMs: answer.sentAtMs,
        expiresInSeconds: answer.expiresInSeconds,
        subjectExpiresAtMs: session.subject?.expiresAtMs,
        maxAgeMs: maxAgeMs(),
      };
      return {
        authorization: new Secret(`Bearer ${answer.accessToken}`),
        life: measureLife(answer.accessToken, bounds, clock, random()),
      };
    } catch (error) {
      failure =
        error instanceof CambistError
          ? error
          : new CambistError('ERR_INTERNAL', 'an exchange failed', { cause: error });
      throw failure;
    } finally {
      observer.exchangeEnded({
        route: route.name,
        authorizationServer: credential.authorizationServer.name,
        refresh: isRefresh,
        error: failure,
        durationMs: clock.monotonicMs() - startedMs,
      });
    }
  }

  async function grantFor({ route, credential, session }: Ask): Promise<Grant> {
    if (credential.kind === 'client_credentials' || session.subject === undefined)
      return { kind: 'client_credentials' };
    const { actorToken } = credential;
    let actor: { token: string; type: string } | undefined;
    if (actorToken !== undefined) {
      const name = `actor token of route "${route.name}"`;
      const token = (await readCredential(actorToken.source, name)).reveal();
      const exp: unknown = readClaims(token)?.exp;
      if (typeof exp === 'number') observer.credentialRead(name, exp);
      actor = { token, type: actorToken.type };
    }
    return {
      kind: 'token_exchange',
      subjectToken: session.subject.token.reveal(),
      subjectTokenType: route.subjectToken.type,
      actor,
    };
  }

  return {
    lookUp(route, session) {
      const ask = askFor(route, session);
      const lookup: Lookup = ask === undefined ? { result: 'bypass' } : find(ask);
      observer.cacheAnswered(route.name, lookup.result);
      return lookup;
    },
    refuse(route, session, token) {
      refused.add(token);
      const ask = askFor(route, session);
      if (ask !== undefined) cache.drop(ask.key, 'refused', token);
    },
    openSession(route, session, id, token) {
      const ask = askFor(route, session);
      if (ask?.session.subject === undefined || refused.has(token)) return;
      cache.move(ask.key, tokenKey({ subject: ask.session.subject, id }, ask.resource), token, route.name);
    },
    endSession(route, session) {
      const ask = askFor(route, session);
      if (ask?.session.id === undefined) return;
      cache.drop(ask.key, 'session_ended');
      const flight = underWay.get(ask.key);
      if (flight !== undefined) flight.wanted = false;
    },
  };
}

function isRemembered(error: unknown): error is CambistError {
  return error instanceof CambistError && REMEMBERED.has(error.code);
}

/** All callers are one where the token is for cambist itself. */
const OURSELVES: Session = { subject: undefined, id: undefined };

/** The session that a token is for. */
function sessionFor(credential: TokenCredential, session: Session, routeName: string): Session {
  if (credential.kind === 'client_credentials') return OURSELVES;
  if (session.subject !== undefined) return session;
  if (credential.onMissingSubject === 'client_credentials') return OURSELVES;
  throw new CambistError('ERR_SUBJECT_TOKEN_MISSING', `route "${routeName}": the request bears no subject token`);
}
