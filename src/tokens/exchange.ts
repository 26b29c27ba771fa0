import type { Clock } from '../clock/clock.ts';
import type { ActorTokenSource, AuthorizationServer, Chain, Credential, Route, TokenTarget } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import type { Cause, TokenObserver } from '../observability/token-observer.ts';
import { readCredential } from '../secrets/credential.ts';
import { oncePerSecret, Secret } from '../secrets/secret.ts';
import { checkAudience, isForOthers } from './audience.ts';
import { type Assertion, type Assertions, checkAssertion, firstLegTarget } from './chain.ts';
import { readClaims } from './claims.ts';
import type { DpopProver } from './dpop.ts';
import { checkNotEnded, type DpopBinding, type IssuedToken, measureLife } from './issued.ts';
import { requesterOf } from './requester.ts';
import { digestsOf } from './sent-values.ts';
import { type ResourceDigest, subjectKey } from './session.ts';
import type { Subject } from './subject.ts';
import type { EarlierValues, TokenEndpoint, TokenEndpointAnswer } from './token-endpoint.ts';
import type { Grant } from './token-request.ts';

/** The two kinds of credential that are a token from an authorization server. */
export type TokenCredential = Extract<Credential, { authorizationServer: AuthorizationServer }>;

/** What a token is wanted for. */
export interface Wanted {
  readonly route: Route;
  readonly credential: TokenCredential;
  /** Undefined: the token is for cambist itself. */
  readonly subject: Subject | undefined;
  readonly resource: ResourceDigest;
  /** Is it asked for ahead, while the one before is still good? */
  readonly refresh: boolean;
  readonly cause?: Cause | undefined;
}

interface Chained extends Wanted {
  readonly subject: Subject;
  readonly chain: Chain;
}

export interface ExchangeOptions {
  readonly endpoint: (server: AuthorizationServer) => TokenEndpoint;
  readonly assertions: Assertions;
  readonly dpop: DpopProver;
  readonly maxAgeMs: () => number;
  readonly clock: Clock;
  readonly observer: TokenObserver;
  /** From 0 to 1, for jitter. */
  readonly random: () => number;
}

/** Of a token of our own, which many exchanges bear. */
const claimsOf = oncePerSecret(readClaims);

/** Gets a token. @throws {CambistError} whatever a token endpoint, or the check of its answer, throws */
export type Exchange = (wanted: Wanted) => Promise<IssuedToken>;

/** One request to a token endpoint. */
interface Leg {
  readonly server: AuthorizationServer;
  readonly target: TokenTarget;
  readonly kind: 'token' | 'assertion';
  readonly grant: () => Grant | Promise<Grant>;
  readonly earlier?: EarlierValues;
}

/** A checked response, and how long its token may be used. */
type Settled = Pick<TokenEndpointAnswer, 'accessToken' | 'tokenType' | 'sent'> &
  Pick<IssuedToken, 'life'> & {
    /** The token is also valid at audiences that the route does not expect. */
    readonly isForOthers: boolean;
  };

/** Tokens from the authorization servers: by one request or, in a chain, by two. */
export function createExchange(options: ExchangeOptions): Exchange {
  const { endpoint, assertions, dpop, maxAgeMs, clock, observer, random } = options;

  function tokenFor(wanted: Wanted): Promise<Settled> {
    const { route, credential, subject } = wanted;
    if (credential.kind === 'client_credentials' || subject === undefined) {
      return run(
        wanted,
        tokenLeg(credential, () => ({ kind: 'client_credentials' })),
      );
    }
    if (credential.chain !== undefined) return runChain({ ...wanted, chain: credential.chain, subject });
    if (credential.authorizationServer.grant === 'jwt_bearer')
      return run(wanted, bearerLeg(credential, subject.token, 'caller'));
    return run(
      wanted,
      tokenLeg(credential, () => exchangeGrant(route, subject)),
    );
  }

  /** An assertion that was kept may have been withdrawn meanwhile; a new one that is refused is refused for good. */
  async function runChain(wanted: Chained): Promise<Settled> {
    const { subject, route, resource } = wanted;
    const key = subjectKey(subject, resource);
    const obtain = () => assertions.obtain(key, route.name, () => firstLeg(wanted));
    const { assertion, reused } = await obtain();
    try {
      return await run(wanted, secondLeg(wanted, assertion));
    } catch (error) {
      if (!isRefusedAssertion(error)) throw error;
      assertions.drop(key, assertion);
      if (!reused) throw error;
      return run(wanted, secondLeg(wanted, (await obtain()).assertion));
    }
  }

  async function firstLeg(wanted: Chained): Promise<Assertion> {
    const { route, credential, subject, chain } = wanted;
    const { accessToken, life, sent } = await run(wanted, {
      server: chain.authorizationServer,
      target: firstLegTarget(chain, credential.target),
      kind: 'assertion',
      grant: () => exchangeGrant(route, subject),
    });
    return { assertion: new Secret(accessToken), life, sent: digestsOf(sent) };
  }

  function run(wanted: Wanted, leg: Leg): Promise<Settled> {
    const server = endpoint(leg.server);
    const { route, subject, cause } = wanted;
    return server.run(requesterOf(route, subject, cause?.peer), () =>
      observed(wanted, leg, () => ask(server, wanted, leg)),
    );
  }

  async function ask(server: TokenEndpoint, { route, subject }: Wanted, leg: Leg): Promise<Settled> {
    const answer = await server.requestToken(await leg.grant(), leg.target, leg.kind, leg.earlier);
    const { accessToken, tokenType, sentAtMs, expiresInSeconds, sent } = answer;
    const check = leg.kind === 'assertion' ? checkAssertion : checkAudience;
    const claims = readClaims(accessToken);
    check(claims, leg.target.expectAudience, route.name);
    checkNotEnded(claims, clock, route.name);
    const bounds = { sentAtMs, expiresInSeconds, subjectExpiresAtMs: subject?.expiresAtMs, maxAgeMs: maxAgeMs() };
    return {
      accessToken,
      tokenType,
      sent,
      life: measureLife(claims, bounds, clock, random()),
      isForOthers: leg.kind === 'token' && isForOthers(claims, leg.target.expectAudience),
    };
  }

  async function observed(wanted: Wanted, leg: Leg, work: () => Promise<Settled>): Promise<Settled> {
    const startedMs = clock.monotonicMs();
    const span = wanted.cause?.span?.child('exchange', {
      'cambist.route': wanted.route.name,
      'cambist.authorization_server': leg.server.name,
      'cambist.refresh': wanted.refresh,
    });
    let failure: CambistError | undefined;
    let settled: Settled | undefined;
    try {
      settled = await work();
      return settled;
    } catch (error) {
      failure =
        error instanceof CambistError
          ? error
          : new CambistError('ERR_INTERNAL', 'an exchange failed', { cause: error });
      throw failure;
    } finally {
      span?.end({}, failure?.code);
      observer.exchangeEnded({
        route: wanted.route.name,
        authorizationServer: leg.server.name,
        refresh: wanted.refresh,
        cause: wanted.cause,
        error: failure,
        isForOthers: settled?.isForOthers === true,
        durationMs: clock.monotonicMs() - startedMs,
      });
    }
  }

  function exchangeGrant(route: Route, subject: Subject): Grant | Promise<Grant> {
    const actorToken = route.credential.kind === 'exchange' ? route.credential.actorToken : undefined;
    const grant = {
      kind: 'token_exchange',
      subjectToken: subject.token.reveal(),
      subjectTokenType: route.subjectToken.type,
      actor: undefined,
    } as const;
    if (actorToken === undefined) return grant;
    return actorOf(route.name, actorToken).then((actor) => ({ ...grant, actor }));
  }

  async function actorOf(
    routeName: string,
    { source, type }: ActorTokenSource,
  ): Promise<{ token: string; type: string }> {
    const name = `actor token of route "${routeName}"`;
    const token = await readCredential(source, name);
    const exp: unknown = claimsOf(token)?.exp;
    if (typeof exp === 'number') observer.credentialRead(name, exp);
    return { token: token.reveal(), type };
  }

  function issued({ accessToken, tokenType, life }: Settled): IssuedToken {
    if (tokenType !== 'DPoP') return { authorization: new Secret(`Bearer ${accessToken}`), life };
    return { authorization: new Secret(`DPoP ${accessToken}`), life, dpop: bind(accessToken, dpop) };
  }

  return async (wanted) => issued(await tokenFor(wanted));
}

function tokenLeg({ authorizationServer: server, target }: TokenCredential, grant: Leg['grant']): Leg {
  return { server, target, kind: 'token', grant };
}

function bearerLeg(credential: TokenCredential, assertion: Secret, from: 'caller' | 'chain'): Leg {
  return tokenLeg(credential, () => ({ kind: 'jwt_bearer', assertion: assertion.reveal(), from }));
}

/** Shows an assertion to the second server, whose token must not be the caller's either. */
function secondLeg({ credential, subject }: Chained, { assertion, sent }: Assertion): Leg {
  const callers = { name: 'subject_token', value: subject.token.reveal(), isCredential: true };
  return { ...bearerLeg(credential, assertion, 'chain'), earlier: { values: [callers], digests: sent } };
}

/** RFC 7523 section 3.1 */
function isRefusedAssertion(error: unknown): boolean {
  return error instanceof CambistError && error.oauthError === 'invalid_grant';
}

function bind(accessToken: string, dpop: DpopProver): DpopBinding {
  const nonceFrom = (origin: string) => `upstream ${origin}`;
  const token = new Secret(accessToken);
  return {
    prove: (method, origin, path) =>
      dpop.prove({ method, url: origin + path, nonceFrom: nonceFrom(origin), accessToken: token.reveal() }),
    learn: (origin, nonce) => dpop.learn(nonceFrom(origin), nonce),
  };
}
