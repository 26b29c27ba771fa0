import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Route } from '../config/route.ts';

/** Where the config sets how a peer is reached. */
export interface ConfigPaths {
  /** As in `routes.github.upstream`. */
  readonly address: string;
  /** Undefined if the config has no timeout for this peer. */
  readonly timeout: string | undefined;
  /** Path of the trusted CA. */
  readonly ca: string;
  /** Path of cambist's client certificate. Undefined if cambist presents none to this peer. */
  readonly certificate: string | undefined;
}

/** Path of a server in the config. */
export function serverPath(server: AuthorizationServer): string {
  return `authorization_servers.${server.name}`;
}

export function pathsOfServer(server: AuthorizationServer): ConfigPaths {
  const at = serverPath(server);
  return {
    address: `${at}.issuer or token_endpoint`,
    timeout: `${at}.timeout`,
    ca: `${at}.tls.ca`,
    certificate: `${at}.tls.certificate and private_key`,
  };
}

export function pathsOfUpstream({ name }: Route): ConfigPaths {
  const route = `routes.${name}`;
  return {
    address: `${route}.upstream`,
    timeout: `${route}.timeouts.connect`,
    ca: `${route}.tls.ca`,
    certificate: `${route}.tls.certificate and private_key`,
  };
}
