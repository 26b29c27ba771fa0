import type { AuthorizationServer, Credential, Route } from '../config/config.ts';
import { readCredential } from '../config/credential.ts';
import { Secret } from '../config/secret.ts';
import { CambistError, type ErrorCode } from '../errors.ts';
import type { TokenCache } from './cache.ts';
import { readClaims } from './claims.ts';
import type { Clock } from './clock.ts';
import { checkAudience, type IssuedToken, reusableUntil } from './issued.ts';
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
}

export interface BrokerOptions {
  readonly cache: TokenCache;
  readonly endpoint: (server: AuthorizationServer) => TokenEndpoint;
  readonly maxAgeMs: () => number;
  readonly clock: Clock;
  readonly observer: TokenObserver;
}

/** What is the caller's own and will not change within seconds; faults, and refusals of ourselves, may pass at any time. */
const REMEMBERED: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_INTERACTION_REQUIRED',
  'ERR_EXCHANGE_REFUSED',
]);

export function createBroker({ cache, endpoint, maxAgeMs, clock, observer }: BrokerOptions): Broker {
  const underWay = new Map<string, Promise<IssuedToken>>();
  const digests = new WeakMap<Route, ResourceDigest>();

  function digestOf(route: Route): ResourceDigest {
    let digest = digests.get(route);
    if (digest === undefined) {
      digest = resourceDigest(route);
      digests.set(route, digest);
    }
    return digest;
  }

  function find(route: Route, credential: TokenCredential, session: Session): Lookup {
    const resource = digestOf(route);
    const key = tokenKey(session, resource);
    const token = cache.token(key);
    if (token !== undefined) return { result: 'hit', token };
    const pending = underWay.get(key);
    if (pending !== undefined) return { result: 'joined', pending };
    const remembered = session.subject && cache.refusal(refusalKey(session.subject, resource));
    if (remembered !== undefined) return { result: 'negative', error: remembered };
    return { result: 'miss', pending: begin(route, credential, session, key, resource) };
  }

  /** One exchange for all who ask meanwhile. It belongs to none of them, so none can cancel it for the others. */
  function begin(
    route: Route,
    credential: TokenCredential,
    session: Session,
    key: string,
    resource: ResourceDigest,
  ): Promise<IssuedToken> {
    const server = endpoint(credential.authorizationServer);
    const pending = server.breaker
      .run(() => exchange(server, route, credential, session))
      .then((token) => {
        cache.keepToken(key, token);
        return token;
      })
      .catch((error: unknown) => {
        if (session.subject && error instanceof CambistError && REMEMBERED.has(error.code)) {
          cache.keepRefusal(refusalKey(session.subject, resource), error);
        }
        throw error;
      })
      .finally(() => underWay.delete(key));
    underWay.set(key, pending);
    return pending;
  }

  async function exchange(
    server: TokenEndpoint,
    route: Route,
    credential: TokenCredential,
    session: Session,
  ): Promise<IssuedToken> {
    const { authorizationServer, target } = credential;
    const startedMs = clock.monotonicMs();
    let error: ErrorCode | undefined;
    try {
      const answer = await server.requestToken(await grantFor(route, credential, session), target);
      checkAudience(answer.accessToken, target.expectAudience, route.name);
      return {
        token: new Secret(answer.accessToken),
        authorization: new Secret(`Bearer ${answer.accessToken}`),
        reusableUntilMs: reusableUntil(
          answer.accessToken,
          {
            sentAtMs: answer.sentAtMs,
            expiresInSeconds: answer.expiresInSeconds,
            subjectExpiresAtMs: session.subject?.expiresAtMs,
            maxAgeMs: maxAgeMs(),
          },
          clock,
        ),
      };
    } catch (caught) {
      error = caught instanceof CambistError ? caught.code : 'ERR_INTERNAL';
      throw caught;
    } finally {
      const durationMs = clock.monotonicMs() - startedMs;
      observer.exchangeEnded({ route: route.name, authorizationServer: authorizationServer.name, error, durationMs });
    }
  }

  async function grantFor(route: Route, credential: TokenCredential, session: Session): Promise<Grant> {
    if (credential.kind === 'client_credentials' || session.subject === undefined)
      return { kind: 'client_credentials' };
    const { actorToken } = credential;
    let actor: { token: string; type: string } | undefined;
    if (actorToken !== undefined) {
      const token = (await readCredential(actorToken.source, `actor token of route "${route.name}"`)).reveal();
      const exp: unknown = readClaims(token)?.exp;
      if (typeof exp === 'number') observer.credentialRead(`actor token of route "${route.name}"`, exp);
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
      const { credential } = route;
      const lookup: Lookup =
        credential.kind === 'passthrough' || credential.kind === 'none'
          ? { result: 'bypass' }
          : find(route, credential, sessionFor(credential, session, route.name));
      observer.cacheAnswered(route.name, lookup.result);
      return lookup;
    },
    refuse(route, session, token) {
      const { credential } = route;
      if (credential.kind === 'passthrough' || credential.kind === 'none') return;
      cache.dropToken(tokenKey(sessionFor(credential, session, route.name), digestOf(route)), token);
    },
  };
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
