import type { Dispatcher } from 'undici';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { createEndpointClaims } from './endpoint-claims.ts';
import { createTokenEndpoint, type TokenEndpoint, type TokenEndpointContext } from './token-endpoint.ts';

/** The token endpoints of a config's servers. An unchanged server keeps its state over a reload. */
export interface TokenEndpoints {
  of(server: AuthorizationServer): TokenEndpoint;
  /** Drops all other servers. */
  serve(servers: Iterable<AuthorizationServer>): void;
}

export interface TokenEndpointsContext extends Omit<TokenEndpointContext, 'claims'> {
  /** All servers of the config. */
  readonly servers: () => readonly AuthorizationServer[];
  /** Called for each server of the config at its first use: it counts as available until it fails. */
  readonly serverBegun: (name: string) => void;
}

/** @param dispatcher gives the connection pool of a server */
export function createTokenEndpoints(
  dispatcher: (server: AuthorizationServer) => Dispatcher | Promise<Dispatcher>,
  { serverBegun, servers: configured, ...context }: TokenEndpointsContext,
): TokenEndpoints {
  const claims = createEndpointClaims(configured);
  let endpoints = new Map<string, TokenEndpoint>();
  /** A request that began before a reload may still use a previous server, whose availability no longer counts. */
  let served: ReadonlySet<string> = new Set();

  function create(server: AuthorizationServer, key: string): TokenEndpoint {
    if (served.has(key)) serverBegun(server.name);
    return createTokenEndpoint(server, () => dispatcher(server), {
      ...context,
      claims,
      observer: {
        ...context.observer,
        availabilityChanged(name, available) {
          if (served.has(key)) context.observer.availabilityChanged(name, available);
        },
      },
    });
  }

  return {
    of(server) {
      const key = keyOf(server);
      const endpoint = endpoints.get(key) ?? create(server, key);
      endpoints.set(key, endpoint);
      return endpoint;
    },
    serve(servers) {
      served = new Set([...servers].map(keyOf));
      endpoints = new Map([...endpoints].filter(([key]) => served.has(key)));
    },
  };
}

const keys = new WeakMap<AuthorizationServer, string>();

/** The config of a server as text. Cached, because each exchange needs it. */
function keyOf(server: AuthorizationServer): string {
  let key = keys.get(server);
  if (key === undefined) {
    key = JSON.stringify(server);
    keys.set(server, key);
  }
  return key;
}
