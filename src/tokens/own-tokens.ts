import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Chain, TokenTarget } from '../config/route.ts';
import { TOKEN_TYPE_PREFIX } from '../config/units.ts';
import { oncePer, Secret } from '../secrets/secret.ts';
import type { TokenCache } from './cache.ts';
import { digestsOf } from './sent-values.ts';
import type { ClientAssertions } from './server-client.ts';
import type { TokenEndpoint } from './token-endpoint.ts';
import { type Assertion, ownTokenRequest, type TokenRequest } from './token-request.ts';

/**
 * The target of a chain's first leg: an assertion for the second server, about the resource of the route.
 * @see draft-ietf-oauth-identity-assertion-authz-grant section 4.3, draft-ietf-oauth-identity-chaining section 2.3
 */
export function firstLegTarget(chain: Chain, target: TokenTarget): TokenTarget {
  const isIdJag = chain.assertion === 'id_jag';
  return {
    resource: isIdJag ? target.resource : [],
    audience: [chain.audience],
    scope: target.scope,
    requestedTokenType: `${TOKEN_TYPE_PREFIX}${isIdJag ? 'id-jag' : 'jwt'}`,
    expectAudience: chain.expectAudience,
  };
}

/** The assertions of chains. Each is reused while it is valid, and concurrent callers share one request. */
export type Assertions = ReturnType<typeof createAssertions>;

export function createAssertions(cache: TokenCache<Assertion>) {
  const inFlight = new Map<string, Promise<Assertion>>();

  return {
    /**
     * @param request gets a new assertion
     * @returns the assertion, and whether it was cached
     */
    async obtain(
      key: string,
      route: string,
      request: () => Promise<Assertion>,
    ): Promise<{ assertion: Assertion; reused: boolean }> {
      const cached = cache.find(key);
      if (cached !== undefined) return { assertion: cached.token, reused: true };
      let pending = inFlight.get(key);
      if (pending === undefined) {
        pending = request()
          .then((assertion) => {
            cache.keep(key, assertion, { route, subject: undefined });
            return assertion;
          })
          .finally(() => inFlight.delete(key));
        inFlight.set(key, pending);
      }
      return { assertion: await pending, reused: false };
    },
    /** Drops the assertion of a key that a server refused; with `assertion`, unless another has replaced it. */
    drop: (key: string, assertion?: Assertion): void => cache.drop(key, 'refused', assertion),
  };
}

type EndpointOf = (server: AuthorizationServer) => TokenEndpoint;

/** Tokens for requests that cambist makes for itself, and for no route. */
export type OwnTokens = ReturnType<typeof createOwnTokens>;

/** @param assertions keeps the tokens as well: both are for cambist itself, and reach no backend */
export function createOwnTokens(endpoint: EndpointOf, assertions: Assertions) {
  const keyOf = (server: AuthorizationServer, scope = '') => `${clientKey(server)} ${scope}`;

  return {
    /**
     * Gets a token by client credentials, unless one is cached.
     * @param purpose for the log and the metrics, in place of a route
     * @returns the value of an `Authorization` header
     * @throws {CambistError} the codes of `TokenEndpoint.exchange`
     */
    async obtain(server: AuthorizationServer, scope: string | undefined, purpose: string): Promise<string> {
      const request = ownTokenRequest(purpose, scope, 'token');
      const { assertion } = await assertions.obtain(keyOf(server, scope), purpose, () =>
        requestAssertion(endpoint(server), request),
      );
      return `Bearer ${assertion.assertion.reveal()}`;
    },
    drop: (server: AuthorizationServer, scope: string | undefined): void => assertions.drop(keyOf(server, scope)),
  };
}

export function createClientAssertions(endpoint: EndpointOf, assertions: Assertions): ClientAssertions {
  return {
    obtain: (server, from, routeName) => {
      const request = ownTokenRequest(routeName, from.scope, 'assertion');
      return assertions.obtain(clientKey(server), routeName, () =>
        requestAssertion(endpoint(from.authorizationServer), request),
      );
    },
    drop: (server, assertion) => assertions.drop(clientKey(server), assertion),
    prepare: ({ authorizationServer }) => endpoint(authorizationServer).prepare(),
  };
}

/** Requests a token that reaches no backend. @throws {CambistError} the codes of `TokenEndpoint.exchange` */
export async function requestAssertion(endpoint: TokenEndpoint, request: TokenRequest): Promise<Assertion> {
  const { accessToken, lifetime, sent } = await endpoint.exchange(request);
  return { assertion: new Secret(accessToken), lifetime, sent: digestsOf(sent) };
}

/** A key that no caller's assertion has: those begin with a digest. */
const clientKey = oncePer((server: AuthorizationServer) => `client ${JSON.stringify(server)}`);
