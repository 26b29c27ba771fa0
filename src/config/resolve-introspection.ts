import type { AuthorizationServer } from './authorization-server.ts';
import { type ConfigNode, valueOrReport } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import { readDuration } from './quantities.ts';
import type { Introspection } from './route.ts';
import type { Loose } from './schema.ts';
import type { IntrospectionFile } from './schema-introspection.ts';
import { readHttpUrl } from './urls.ts';

/** The keys of `introspection` before the servers of the file are known. */
export type IntrospectionKeys = Loose<IntrospectionFile>;

/**
 * Reads `verify.introspection`. Undefined where it has an error, which is reported to `node`.
 * @param issuer of the tokens
 */
export function resolveIntrospection(
  written: IntrospectionKeys,
  issuer: string,
  servers: Iterable<AuthorizationServer | undefined>,
  node: ConfigNode,
): Introspection | undefined {
  const cacheMs = readDuration(written.cache ?? DEFAULTS.introspectionCache, node.at('cache'), {
    min: '1s',
    max: '5m',
  });
  const server = findServer(written.authorization_server, issuer, [...servers], node);
  if (server === undefined) return undefined;
  if (server.clientAuth.method === 'none') {
    node.error(
      `asks authorization server "${server.name}", which has no client_auth: introspection needs client authentication`,
    );
  }
  const { endpoint } = written;
  if (endpoint !== undefined) {
    const rules = { allowInsecureHttp: server.allowInsecureHttp, allowQuery: true };
    valueOrReport(readHttpUrl(endpoint, rules), node.at('endpoint'));
  } else if (server.issuer === undefined) {
    node.error(`missing key "endpoint": authorization server "${server.name}" has no issuer whose metadata names it`);
  }
  return { authorizationServer: server, endpoint, cacheMs };
}

function findServer(
  name: string | undefined,
  issuer: string,
  servers: readonly (AuthorizationServer | undefined)[],
  node: ConfigNode,
): AuthorizationServer | undefined {
  // A server with an error of its own is undefined, and has its report.
  if (servers.includes(undefined)) return servers.find((server) => server?.name === name);
  const found = servers.find((server) => (name === undefined ? server?.issuer === issuer : server?.name === name));
  if (found !== undefined) return found;
  if (name === undefined) {
    node.error(
      'missing key "authorization_server": no authorization server has this issuer: name the one to ask, or set its issuer',
    );
  } else {
    node.at('authorization_server').error(`"${name}" is not defined under authorization_servers: define it`);
  }
  return undefined;
}
