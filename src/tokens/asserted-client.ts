import type { AuthorizationServer } from '../config/authorization-server.ts';
import { Secret } from '../secrets/secret.ts';
import type { Assertions } from './chain.ts';
import { digestsOf } from './sent-values.ts';
import type { ClientAssertions, TokenEndpoint } from './token-endpoint.ts';
import { ownTokenRequest } from './token-request.ts';

export function createClientAssertions(
  endpoint: (server: AuthorizationServer) => TokenEndpoint,
  assertions: Assertions,
): ClientAssertions {
  return {
    obtain: (server, from, routeName) =>
      assertions.obtain(keyOf(server), routeName, async () => {
        const request = ownTokenRequest(routeName, from.scope, 'assertion');
        const { accessToken, lifetime, sent } = await endpoint(from.authorizationServer).exchange(request);
        return { assertion: new Secret(accessToken), lifetime, sent: digestsOf(sent) };
      }),
    drop: (server, assertion) => assertions.drop(keyOf(server), assertion),
    prepare: ({ authorizationServer }) => endpoint(authorizationServer).prepare(),
  };
}

const keys = new WeakMap<AuthorizationServer, string>();

/** A key that no caller's assertion has: those begin with a digest. */
function keyOf(server: AuthorizationServer): string {
  const key = keys.get(server) ?? `client ${JSON.stringify(server)}`;
  keys.set(server, key);
  return key;
}
