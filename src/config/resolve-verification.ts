import type { AuthorizationServer, Servers } from './authorization-server.ts';
import type { ConfigNode } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import { readDuration } from './quantities.ts';
import type { Introspection, SubjectVerification } from './route.ts';
import type { Loose } from './schema.ts';
import type { IntrospectionFile } from './schema-introspection.ts';
import { checkUrl } from './urls.ts';

/** The keys of `verify` before the servers of the file are known. */
interface VerifyKeys extends Pick<SubjectVerification, 'issuer' | 'jwksUri' | 'allowInsecureHttp'> {
  readonly introspection?: Loose<IntrospectionFile> | undefined;
}

/**
 * Checks the URL that leads to an issuer's keys: `jwks_uri`, or the issuer, whose metadata names it. With introspection alone,
 * cambist connects to neither.
 */
export function checkKeysUrl(keys: VerifyKeys, node: ConfigNode): void {
  const { issuer, jwksUri, allowInsecureHttp, introspection } = keys;
  checkUrl(jwksUri, node.at('jwks_uri'), { allowInsecureHttp, allowQuery: true });
  if (jwksUri !== undefined || introspection !== undefined) return;
  checkUrl(issuer, node.at('issuer'), { allowInsecureHttp, allowQuery: false });
}

/** Reads `verify`, whose audience is known. An error is reported to its node. */
export function resolveVerification(
  { introspection: written, ...keys }: VerifyKeys & Pick<SubjectVerification, 'audience'>,
  servers: Servers,
  node: ConfigNode,
): SubjectVerification {
  const introspection = written && resolveIntrospection(written, keys.issuer, servers, node.at('introspection'));
  const ca = serverOf(keys.issuer, servers)?.tls?.ca;
  return { ...keys, ca, ...(introspection !== undefined && { introspection }) };
}

/** Undefined after an error. @param issuer of the tokens */
function resolveIntrospection(
  written: Loose<IntrospectionFile>,
  issuer: string,
  servers: Servers,
  node: ConfigNode,
): Introspection | undefined {
  const cacheMs = readDuration(written.cache ?? DEFAULTS.introspectionCache, node.at('cache'), {
    min: '1s',
    max: '5m',
  });
  const server = findServer(written.authorization_server, issuer, servers, node);
  if (server === undefined) return undefined;
  if (server.clientAuth.method === 'none') {
    node.error(
      `asks authorization server "${server.name}", which has no client_auth: introspection needs client authentication`,
    );
  }
  const { endpoint } = written;
  checkUrl(endpoint, node.at('endpoint'), { allowInsecureHttp: server.allowInsecureHttp, allowQuery: true });
  if (endpoint === undefined && server.issuer === undefined) {
    node.error(`missing key "endpoint": authorization server "${server.name}" has no issuer whose metadata names it`);
  }
  return { authorizationServer: server, endpoint, cacheMs };
}

function findServer(
  name: string | undefined,
  issuer: string,
  servers: Servers,
  node: ConfigNode,
): AuthorizationServer | undefined {
  if (name !== undefined) return serverNamed(name, servers, node);
  // A server with an error of its own may be the one.
  if ([...servers.values()].includes(undefined)) return undefined;
  const found = serverOf(issuer, servers);
  if (found !== undefined) return found;
  node.error(
    'missing key "authorization_server": no authorization server has this issuer: name the one to ask, or set its issuer',
  );
  return undefined;
}

/** Reports an unknown name. A server with an error of its own is undefined, and has its report. */
export function serverNamed(name: string, servers: Servers, node: ConfigNode): AuthorizationServer | undefined {
  if (!servers.has(name)) {
    node.at('authorization_server').error(`"${name}" is not defined under authorization_servers: define it`);
  }
  return servers.get(name);
}

/** The authorization server with this issuer. */
export function serverOf(issuer: string, servers: Servers): AuthorizationServer | undefined {
  return [...servers.values()].find((server) => server?.issuer === issuer);
}
