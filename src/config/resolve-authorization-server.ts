import type { AuthorizationServer, Servers } from './authorization-server.ts';
import type { ConfigNode } from './config-node.ts';
import { DEFAULTS } from './defaults.ts';
import type { Loose } from './loose.ts';
import { readDuration } from './quantities.ts';
import { resolveClientAuth } from './resolve-client-auth.ts';
import type { AuthorizationServerFile } from './schema-authorization-server.ts';
import type { Sources } from './sources.ts';
import { checkUrl } from './urls.ts';

/** Form fields of the protocol (RFC 6749, 7521, 8693, 8707). Config keys of their own set them, or nothing does. */
const PROTOCOL_PARAMS = new Set([
  'grant_type',
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'subject_token',
  'subject_token_type',
  'actor_token',
  'actor_token_type',
  'requested_token_type',
  'resource',
  'audience',
  'scope',
  'assertion',
  'code',
  'code_verifier',
  'redirect_uri',
  'refresh_token',
  'username',
  'password',
  'connection',
]);

/**
 * Reads an authorization server. Undefined after an error, which is reported to `node`.
 * @param servers those that may issue its client assertion
 */
export function resolveAuthorizationServer(
  name: string,
  written: Loose<AuthorizationServerFile>,
  node: ConfigNode,
  sources: Sources,
  servers: Servers,
): AuthorizationServer | undefined {
  const allowInsecureHttp = written.allow_insecure_http ?? false;
  checkUrl(written.issuer, node.at('issuer'), { allowInsecureHttp, allowQuery: false });
  checkUrl(written.token_endpoint, node.at('token_endpoint'), { allowInsecureHttp, allowQuery: true });
  if (written.issuer === undefined && written.token_endpoint === undefined) {
    if (!node.at('issuer').broken && !node.at('token_endpoint').broken) {
      node.error('missing key "issuer" or "token_endpoint": set one, so that cambist finds the token endpoint');
    }
  }
  if (allowInsecureHttp && written.token_endpoint === undefined && written.issuer?.startsWith('https:')) {
    node
      .at('allow_insecure_http')
      .warn('has no effect: an https issuer must name https endpoints: remove it, or set "token_endpoint"');
  }
  const clientAuth =
    written.client_auth === undefined
      ? undefined
      : resolveClientAuth(written.client_auth, node.at('client_auth'), sources, servers);
  const method = written.client_auth?.method;
  if (written.client_id === undefined && method !== undefined && method !== 'none' && !node.at('client_id').broken) {
    node.error(`missing key "client_id": method "${method}" needs it`);
  }
  const extraParams = readExtraParams(written.extra_params ?? {}, node.at('extra_params'));
  const timeoutMs = readDuration(written.timeout ?? DEFAULTS.authorizationServerTimeout, node.at('timeout'), {
    min: '1ms',
    max: '10m',
  });
  const tls = sources.tls(written.tls, node.at('tls'));
  if (method === 'tls_client_auth' && tls?.certificate === undefined && !node.at('tls').broken) {
    node.error('missing key "tls": method "tls_client_auth" needs its certificate and private_key');
  }
  if (clientAuth === undefined) return undefined;
  return {
    name,
    issuer: written.issuer,
    tokenEndpoint: written.token_endpoint,
    allowInsecureHttp,
    clientId: written.client_id,
    clientAuth,
    grant: written.grant ?? DEFAULTS.grant,
    extraParams,
    timeoutMs,
    tls,
    dpop: written.dpop ?? false,
  };
}

function readExtraParams(
  written: Record<string, string | undefined>,
  node: ConfigNode,
): [name: string, value: string][] {
  const params: [string, string][] = [];
  for (const [name, value] of Object.entries(written)) {
    if (PROTOCOL_PARAMS.has(name)) {
      node.error(`"${name}" is reserved for the protocol: remove it, and use the config key for it`, {
        child: name,
      });
    } else if (name === '') {
      node.error('empty field name: write the name', { child: name });
    } else if (value !== undefined) {
      params.push([name, value]);
    }
  }
  return params;
}
