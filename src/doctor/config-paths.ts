import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Route } from '../config/route.ts';
import { upstreamPeer } from '../transport/dispatchers.ts';

/** The places where the config sets how a peer is reached. */
export interface ConfigPaths {
  /** A path looks like `routes.github.upstream`. */
  readonly address: string;
  /** The config has no timeout for some peers. */
  readonly timeout: string | undefined;
  /** Path of the trusted CA. */
  readonly ca: string;
  /** Path of cambist's client certificate. Undefined if cambist presents none to this peer. */
  readonly certificate: string | undefined;
}

export function serverPath(server: AuthorizationServer): string {
  return `authorization_servers.${server.name}`;
}

/** The settings by which cambist reaches a peer, and where the config has them. */
export interface PeerSettings {
  readonly paths: ConfigPaths;
  readonly ca: string | undefined;
  readonly timeoutMs: number;
}

export function settingsOfServer(server: AuthorizationServer): PeerSettings {
  const at = serverPath(server);
  const paths = { ...tlsPaths(at), address: `${at}.issuer or token_endpoint`, timeout: `${at}.timeout` };
  return { paths, ca: server.tls?.ca, timeoutMs: server.timeoutMs };
}

export function settingsOfUpstream(route: Route): PeerSettings {
  const at = `routes.${route.name}`;
  const { connectMs, tls } = upstreamPeer(route);
  const paths = { ...tlsPaths(at), address: `${at}.upstream`, timeout: `${at}.timeouts.connect` };
  return { paths, ca: tls?.ca, timeoutMs: connectMs };
}

function tlsPaths(at: string) {
  return { ca: `${at}.tls.ca`, certificate: `${at}.tls.certificate and private_key` };
}
