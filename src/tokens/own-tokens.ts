import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { Secret } from '../secrets/secret.ts';
import type { Assertions } from './chain.ts';
import type { Lifetime } from './lifetime.ts';
import { digestsOf } from './sent-values.ts';
import type { ClientAssertions, TokenEndpoint } from './token-endpoint.ts';
import { ownTokenRequest } from './token-request.ts';

/** Tokens for requests that cambist makes for itself, and for no route. */
export interface OwnTokens {
  /**
   * Gets a token by client credentials, unless one is cached.
   * @param purpose for the log and the metrics, in place of a route
   * @returns the value of an `Authorization` header
   * @throws {CambistError} the codes of `TokenEndpoint.exchange`
   */
  obtain(server: AuthorizationServer, scope: string | undefined, purpose: string): Promise<string>;
  /** Drops a token that was refused. */
  drop(server: AuthorizationServer, scope: string | undefined): void;
}

interface Entry {
  readonly token: Secret;
  readonly lifetime: Lifetime;
}

export function createOwnTokens(endpoint: (server: AuthorizationServer) => TokenEndpoint, clock: Clock): OwnTokens {
  /** One for each transmitter of the config at most. */
  const cached = new Map<string, Entry>();

  return {
    async obtain(server, scope, purpose) {
      const key = keyOf(server, scope);
      const known = cached.get(key);
      if (known !== undefined && isReusable(known.lifetime, clock)) return `Bearer ${known.token.reveal()}`;
      const { accessToken, lifetime } = await endpoint(server).exchange(ownTokenRequest(purpose, scope, 'token'));
      cached.set(key, { token: new Secret(accessToken), lifetime });
      return `Bearer ${accessToken}`;
    },
    drop: (server, scope) => void cached.delete(keyOf(server, scope)),
  };
}

function isReusable({ reusableUntilMs, expiresAtMs }: Lifetime, clock: Clock): boolean {
  return clock.monotonicMs() < reusableUntilMs && clock.wallMs() < expiresAtMs;
}

function keyOf(server: AuthorizationServer, scope: string | undefined): string {
  return JSON.stringify([server, scope]);
}

export function createClientAssertions(
  endpoint: (server: AuthorizationServer) => TokenEndpoint,
  assertions: Assertions,
): ClientAssertions {
  return {
    obtain: (server, from, routeName) =>
      assertions.obtain(clientKey(server), routeName, async () => {
        const request = ownTokenRequest(routeName, from.scope, 'assertion');
        const { accessToken, lifetime, sent } = await endpoint(from.authorizationServer).exchange(request);
        return { assertion: new Secret(accessToken), lifetime, sent: digestsOf(sent) };
      }),
    drop: (server, assertion) => assertions.drop(clientKey(server), assertion),
    prepare: ({ authorizationServer }) => endpoint(authorizationServer).prepare(),
  };
}

const keys = new WeakMap<AuthorizationServer, string>();

/** A key that no caller's assertion has: those begin with a digest. */
function clientKey(server: AuthorizationServer): string {
  const key = keys.get(server) ?? `client ${JSON.stringify(server)}`;
  keys.set(server, key);
  return key;
}
