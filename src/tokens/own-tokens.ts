import type { AuthorizationServer } from '../config/authorization-server.ts';
import { oncePer, Secret } from '../secrets/secret.ts';
import type { Assertion, Assertions } from './chain.ts';
import { digestsOf } from './sent-values.ts';
import type { ClientAssertions, TokenEndpoint } from './token-endpoint.ts';
import { ownTokenRequest, type TokenRequest } from './token-request.ts';

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
        requestOwn(endpoint(server), request),
      );
      return `Bearer ${assertion.assertion.reveal()}`;
    },
    /** Drops a token that was refused. */
    drop: (server: AuthorizationServer, scope: string | undefined): void => assertions.drop(keyOf(server, scope)),
  };
}

export function createClientAssertions(endpoint: EndpointOf, assertions: Assertions): ClientAssertions {
  return {
    obtain: (server, from, routeName) => {
      const request = ownTokenRequest(routeName, from.scope, 'assertion');
      return assertions.obtain(clientKey(server), routeName, () =>
        requestOwn(endpoint(from.authorizationServer), request),
      );
    },
    drop: (server, assertion) => assertions.drop(clientKey(server), assertion),
    prepare: ({ authorizationServer }) => endpoint(authorizationServer).prepare(),
  };
}

async function requestOwn(endpoint: TokenEndpoint, request: TokenRequest): Promise<Assertion> {
  const { accessToken, lifetime, sent } = await endpoint.exchange(request);
  return { assertion: new Secret(accessToken), lifetime, sent: digestsOf(sent) };
}

/** A key that no caller's assertion has: those begin with a digest. */
const clientKey = oncePer((server: AuthorizationServer) => `client ${JSON.stringify(server)}`);
