import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Chain } from '../config/route.ts';
import type { ActorTokenSource } from '../config/route-keys.ts';
import { CambistError } from '../errors.ts';
import type { Cause, TokenObserver } from '../observability/token-observer.ts';
import { readCredential } from '../secrets/credential.ts';
import { oncePerSecret, type Secret } from '../secrets/secret.ts';
import type { AcceptedToken } from './accept-token.ts';
import { type DpopProver, type IssuedToken, toIssuedToken } from './issued-token.ts';
import { type Assertions, firstLegTarget, requestAssertion } from './own-tokens.ts';
import { type Actor, type KeyedRequest, subjectKey } from './session.ts';
import type { Subject } from './subject.ts';
import type { TokenEndpoint } from './token-endpoint.ts';
import { type Assertion, type Grant, requesterOf, type TokenRequest } from './token-request.ts';
import { readClaims } from './token-text.ts';

interface ExchangeRequest extends Pick<KeyedRequest, 'route' | 'credential' | 'resource'> {
  /** A token for cambist itself has no subject. */
  readonly subject: Subject | undefined;
  readonly actor?: Actor | undefined;
  /** True for a request in the background, while the current token is still valid. */
  readonly refresh: boolean;
  readonly cause?: Cause | undefined;
}

interface ChainRequest extends ExchangeRequest {
  readonly subject: Subject;
  readonly chain: Chain;
}

interface ExchangeOptions {
  readonly endpoint: (server: AuthorizationServer) => TokenEndpoint;
  readonly assertions: Assertions;
  readonly dpop: DpopProver;
  readonly credentialRead: TokenObserver['credentialRead'];
}

/**
 * Gets a token from authorization servers: by one request or, in a chain, by two.
 * @throws {CambistError} the codes of `TokenEndpoint.exchange`
 */
export type Exchange = (request: ExchangeRequest) => Promise<IssuedToken>;

/** Many exchanges send the same actor token. */
const actorClaims = oncePerSecret(readClaims);

export function createExchange({ endpoint, assertions, dpop, credentialRead }: ExchangeOptions): Exchange {
  function obtainToken(request: ExchangeRequest): Promise<AcceptedToken> {
    const { credential, subject } = request;
    if (credential.kind === 'client_credentials' || subject === undefined) {
      return requestToken(request, 'client_credentials', () => ({ kind: 'client_credentials' }));
    }
    if (credential.chain !== undefined) return runChain({ ...request, chain: credential.chain, subject });
    const { grant: kind } = credential.authorizationServer;
    return requestToken(request, kind, () => {
      const token = subject.token.reveal();
      if (kind === 'jwt_bearer') return { kind, assertion: token, from: 'caller' };
      if (kind === 'token_exchange') return exchangeGrant(request, subject);
      return { kind, subjectToken: token, subjectTokenType: request.route.subjectToken.type };
    });
  }

  function requestToken(
    request: ExchangeRequest,
    grantKind: Grant['kind'],
    grant: TokenRequest['grant'],
    earlier?: TokenRequest['earlier'],
  ): Promise<AcceptedToken> {
    const { authorizationServer, target } = request.credential;
    return endpoint(authorizationServer).exchange(
      tokenRequest(request, { grantKind, grant, target, expect: 'token', earlier }),
    );
  }

  /** A cached assertion may have been revoked, so a refused one is replaced once. A new one that is refused is an error. */
  async function runChain(request: ChainRequest): Promise<AcceptedToken> {
    const { subject, route, resource } = request;
    const key = subjectKey(subject, resource);
    const obtain = () => assertions.obtain(key, route.name, () => firstLeg(request));
    const { assertion, reused } = await obtain();
    try {
      return await secondLeg(request, assertion);
    } catch (error) {
      if (!isRefusedAssertion(error)) throw error;
      assertions.drop(key, assertion);
      if (!reused) throw error;
      return secondLeg(request, (await obtain()).assertion);
    }
  }

  function firstLeg(request: ChainRequest): Promise<Assertion> {
    const { credential, subject, chain } = request;
    const leg = tokenRequest(request, {
      grantKind: 'token_exchange',
      grant: () => exchangeGrant(request, subject),
      target: firstLegTarget(chain, credential.target),
      expect: 'assertion',
      earlier: undefined,
    });
    return requestAssertion(endpoint(chain.authorizationServer), leg);
  }

  /** Sends an assertion to the second server. The issued token must not be the caller's own token either. */
  function secondLeg(request: ChainRequest, { assertion, sent }: Assertion): Promise<AcceptedToken> {
    const subjectToken = { name: 'subject_token', value: request.subject.token.reveal(), isCredential: true };
    const grant: Grant = { kind: 'jwt_bearer', assertion: assertion.reveal(), from: 'chain' };
    return requestToken(request, grant.kind, () => grant, { values: [subjectToken], digests: sent });
  }

  function exchangeGrant({ route, actor }: ExchangeRequest, subject: Subject): Grant | Promise<Grant> {
    const actorToken = route.credential.kind === 'exchange' ? route.credential.actorToken : undefined;
    const grant = {
      kind: 'token_exchange',
      subjectToken: subject.token.reveal(),
      subjectTokenType: route.subjectToken.type,
      actor: undefined,
    } as const;
    if (actorToken === undefined) return grant;
    return readActor(route.name, actorToken, actor).then((sent) => ({ ...grant, actor: sent }));
  }

  async function readActor(routeName: string, { source, type }: ActorTokenSource, agent: Actor | undefined) {
    const name = `actor token of route "${routeName}"`;
    const token = source === 'agent' ? tokenOf(agent, name) : await readCredential(source, name);
    const claims = actorClaims(token);
    const exp: unknown = claims?.exp;
    if (source !== 'agent' && typeof exp === 'number') credentialRead(name, exp);
    return { token: token.reveal(), type, claims };
  }

  return async (request) => toIssuedToken(await obtainToken(request), dpop);
}

/** @throws {CambistError} ERR_AGENT_UNKNOWN */
function tokenOf(agent: Actor | undefined, name: string): Secret {
  if (agent !== undefined) return agent.token;
  throw new CambistError(
    'ERR_AGENT_UNKNOWN',
    `${name}: the agent is known without a token: make it send its own token`,
  );
}

/** The fields of a token request in which the two legs of a chain differ. */
type Leg = Pick<TokenRequest, 'grantKind' | 'grant' | 'target' | 'expect' | 'earlier'>;

/** Each field is named: a spread is several times slower, and each exchange makes one of these. */
function tokenRequest({ route, subject, refresh, cause }: ExchangeRequest, leg: Leg): TokenRequest {
  return {
    routeName: route.name,
    requester: requesterOf(route, subject, cause?.peer),
    grantKind: leg.grantKind,
    grant: leg.grant,
    target: leg.target,
    expect: leg.expect,
    earlier: leg.earlier,
    consent: subject === undefined ? undefined : route.consent,
    subjectExpiresAtMs: subject?.expiresAtMs,
    subject,
    isSubjectVerified: route.subjectToken.verify !== undefined,
    refresh,
    cause,
  };
}

/** RFC 7523 section 3.1 */
function isRefusedAssertion(error: unknown): boolean {
  return error instanceof CambistError && error.oauthError === 'invalid_grant';
}
