import type { AssertionFrom, AuthorizationServer } from '../config/authorization-server.ts';
import type { TokenTarget } from '../config/route.ts';
import { Secret } from '../secrets/secret.ts';
import type { Assertions } from './chain.ts';
import { digestsOf } from './sent-values.ts';
import type { ClientAssertions, TokenEndpoint } from './token-endpoint.ts';

/** cambist itself: no caller is involved. */
const CAMBIST = { caller: undefined, peer: undefined };

export function createClientAssertions(
  endpoint: (server: AuthorizationServer) => TokenEndpoint,
  assertions: Assertions,
): ClientAssertions {
  return {
    obtain: (server, from, routeName) =>
      assertions.obtain(keyOf(server), routeName, async () => {
        const { accessToken, lifetime, sent } = await endpoint(from.authorizationServer).exchange({
          routeName,
          requester: CAMBIST,
          grantKind: 'client_credentials',
          grant: () => ({ kind: 'client_credentials' }),
          target: targetOf(from),
          expect: 'assertion',
          consent: undefined,
          subjectExpiresAtMs: undefined,
          refresh: false,
        });
        return { assertion: new Secret(accessToken), lifetime, sent: digestsOf(sent) };
      }),
    drop: (server, assertion) => assertions.drop(keyOf(server), assertion),
    prepare: ({ authorizationServer }) => endpoint(authorizationServer).prepare(),
  };
}

/** The server that gets the assertion checks its audience. */
export function targetOf({ scope }: AssertionFrom): TokenTarget {
  return {
    resource: [],
    audience: [],
    scope,
    requestedTokenType: undefined,
    expectAudience: 'any',
  };
}

const keys = new WeakMap<AuthorizationServer, string>();

/** A key that no caller's assertion has: those begin with a digest. */
function keyOf(server: AuthorizationServer): string {
  const key = keys.get(server) ?? `client ${JSON.stringify(server)}`;
  keys.set(server, key);
  return key;
}
