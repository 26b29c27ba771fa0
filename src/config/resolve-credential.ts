import type { ConfigNode } from '../documents/config-node.ts';
import type { AuthorizationServer, Servers } from './authorization-server.ts';
import type { Chain, Credential, TokenTarget } from './route.ts';
import type { ChainKeys, RouteKeys, WrittenRouteKeys } from './route-keys.ts';
import { canonicalUri, type Upstream } from './urls.ts';

/**
 * Reads the credential of a route. Undefined after an error, which is reported to `node`.
 * @param written the keys of the route itself
 * @param keys the parsed keys, with `defaults`
 */
export function resolveCredential(
  written: WrittenRouteKeys,
  keys: RouteKeys,
  upstream: Upstream | undefined,
  node: ConfigNode,
  servers: Servers,
): Credential | undefined {
  const { credential: kind, onMissingSubject, unattended } = keys;
  warnOfUnusedKeys(kind, written, node);
  if (kind === 'none' || kind === 'passthrough') return { kind };
  if (kind === 'secret') return secretOf(keys, node);
  const authorizationServer = findServer(keys.authorizationServer, kind, node, servers);
  if (upstream === undefined) return undefined;
  const chainKeys = kind === 'exchange' ? keys.chain : undefined;
  const grant = chainKeys === undefined ? authorizationServer?.grant : 'chain';
  const target =
    grant === 'token_vault' ? vaultTarget(keys, node) : targetOf(keys, canonicalUri(upstream), grant, node);
  if (authorizationServer === undefined) return undefined;
  if ([kind, onMissingSubject, unattended].includes('client_credentials')) {
    if (authorizationServer.clientAuth.method === 'none') {
      node.warn(
        'requests a token for cambist itself without client authentication, which most servers refuse: set client_auth',
      );
    }
  }
  if (kind === 'client_credentials') return { kind, authorizationServer, target };
  const chain = chainKeys && chainOf(chainKeys, authorizationServer, servers, node.at('chain'));
  if (chainKeys !== undefined && chain === undefined) return undefined;
  if (unattended !== undefined && keys.subjectToken?.own === undefined) {
    checkUnattended(keys, authorizationServer.grant, node.at('unattended'));
  }
  warnOfUnsent(written, chain === undefined ? authorizationServer.grant : 'chain', node);
  return { kind, authorizationServer, target, actorToken: keys.actorToken, chain, onMissingSubject };
}

function secretOf({ secret }: RouteKeys, node: ConfigNode): Credential | undefined {
  if (secret !== undefined) return { kind: 'secret', source: secret };
  node.missing('secret', 'credential "secret" needs the file of its secret, as in { file: /path/to/it }');
  return undefined;
}

type Grant = AuthorizationServer['grant'] | 'chain';

function checkUnattended({ unattended, onMissingSubject }: RouteKeys, grant: Grant, node: ConfigNode) {
  if (onMissingSubject === 'client_credentials') {
    node.error(
      'conflicts with on_missing_subject: client_credentials, which serves other requests as well: remove one',
    );
  } else if (unattended === 'client_credentials' && grant === 'token_vault') {
    node.error('a vault has no token for cambist itself: write none');
  } else {
    const why =
      'a server that binds a session to its credential refuses calls in a session that was opened without a caller: make it stateless, or remove the key';
    node.warn(why, 'key');
  }
}

/**
 * @param uri of the upstream: the default `resource`, unless the route sets an audience
 * @param grant undefined after an error in the server
 */
function targetOf(keys: RouteKeys, uri: string, grant: Grant | undefined, node: ConfigNode): TokenTarget {
  // The second request of a chain names a resource. `audience` and the token type belong to token exchange.
  const { audience = [], requestedTokenType } = grant === 'chain' ? {} : keys;
  // Servers that accept assertions, such as Entra ID, refuse a `resource`.
  const resource = keys.resource ?? (audience.length > 0 || grant === 'jwt_bearer' ? [] : [uri]);
  const expectAudience = keys.expectAudience ?? [...new Set([...resource, ...audience])];
  const isUnknown = typeof expectAudience === 'object' && 'length' in expectAudience && expectAudience.length === 0;
  if (isUnknown && !node.at('expect_audience').broken && !node.at('resource').broken) {
    node.error(
      'sends neither resource nor audience, so the expected audience of an issued token is unknown: set expect_audience to the "aud" that the backend expects, or to any',
    );
  }
  return { resource, audience, scope: keys.scope === '' ? undefined : keys.scope, requestedTokenType, expectAudience };
}

/** Token type of Auth0 for the token of another company. */
const VAULT_TOKEN_TYPE = 'http://auth0.com/oauth/token-type/federated-connection-access-token';

/** A vault names the backend by its connection. The token is of another company, so its audience is unknown. */
function vaultTarget({ connection, expectAudience = 'any' }: RouteKeys, node: ConfigNode): TokenTarget {
  if (connection === undefined) {
    node.missing('connection', 'the grant "token_vault" needs the name of the account provider');
  }
  return {
    resource: [],
    audience: [],
    scope: undefined,
    requestedTokenType: VAULT_TOKEN_TYPE,
    ...(connection !== undefined && { connection }),
    expectAudience,
  };
}

/**
 * Reads the first leg of a chain. The second server is its audience, and the audience of the assertion.
 * @param second the server that gets the assertion
 * @see draft-ietf-oauth-identity-assertion-authz-grant section 4.3, draft-ietf-oauth-identity-chaining section 2.3
 */
function chainOf(
  { authorizationServer: name, assertion }: ChainKeys,
  second: AuthorizationServer,
  servers: Servers,
  node: ConfigNode,
): Chain | undefined {
  const first = servers.get(name);
  const { issuer, tokenEndpoint } = second;
  if (first === undefined) return undefined;
  if (first === second) {
    const why = 'is also the authorization server of the route: name the server that issues the assertion';
    node.at('authorization_server').error(why);
    return undefined;
  }
  if (issuer === undefined) {
    const why = 'has no issuer, but the assertion needs one as its audience: set it there';
    node.error(`authorization server "${second.name}" ${why}`);
    return undefined;
  }
  // RFC 7523 section 3 allows the token endpoint as audience. An ID-JAG allows only the issuer.
  const expectAudience = assertion === 'id_jag' || tokenEndpoint === undefined ? [issuer] : [issuer, tokenEndpoint];
  return { authorizationServer: first, assertion, audience: issuer, expectAudience };
}

/** Keys that a grant does not send. */
const UNSENT: Record<Grant, readonly (keyof WrittenRouteKeys)[]> = {
  chain: ['requested_token_type', 'audience', 'connection'],
  token_exchange: ['connection'],
  jwt_bearer: ['requested_token_type', 'actor_token', 'connection'],
  token_vault: [
    ...(['requested_token_type', 'actor_token', 'resource', 'audience', 'scope', 'step_up'] as const),
    'on_missing_subject',
  ],
};

/** Warns of keys that only a token exchange sends. In `defaults` they are for other routes. */
function warnOfUnsent(written: WrittenRouteKeys, grant: Grant, node: ConfigNode): void {
  const because = grant === 'chain' ? 'in a chain' : `with grant "${grant}"`;
  for (const key of UNSENT[grant]) {
    if (written[key] !== undefined) node.at(key).warn(`is not sent ${because}: remove it`, 'key');
  }
}

const FOR_ISSUED_TOKENS = ['authorization_server', 'resource', 'audience', 'scope', 'expect_audience'];
const FOR_EXCHANGES = [
  ...['connection', 'requested_token_type', 'actor_token', 'chain', 'step_up', 'consent_url'],
  ...['on_missing_subject', 'unattended'],
];
const FOR_ANY_CREDENTIAL = [...FOR_ISSUED_TOKENS, ...FOR_EXCHANGES, 'retry_body_limit', 'send', 'secret'];

/** Keys without effect for each kind of credential. In `defaults` they are for other routes. */
const UNUSED_KEYS: Record<Credential['kind'], readonly string[]> = {
  exchange: ['secret'],
  client_credentials: [...FOR_EXCHANGES, 'secret'],
  secret: [...FOR_ISSUED_TOKENS, ...FOR_EXCHANGES],
  passthrough: FOR_ANY_CREDENTIAL,
  none: FOR_ANY_CREDENTIAL,
};

function warnOfUnusedKeys(kind: Credential['kind'], written: WrittenRouteKeys, node: ConfigNode) {
  for (const [key, value] of Object.entries(written)) {
    if (value === undefined || !UNUSED_KEYS[kind].includes(key)) continue;
    node.at(key).warn(`has no effect with credential "${kind}": remove it`, 'key');
  }
  if (kind === 'exchange') return;
  for (const key of ['file', 'from', 'scope', 'verify'] as const) {
    if (written.subject_token?.[key] === undefined || (kind === 'secret' && key !== 'file' && key !== 'from')) continue;
    node.at('subject_token', key).warn(`has no effect with credential "${kind}": remove it`, 'key');
  }
}

function findServer(
  name: string | undefined,
  kind: Credential['kind'],
  node: ConfigNode,
  servers: Servers,
): AuthorizationServer | undefined {
  if (name !== undefined) return servers.get(name);
  const [only, ...others] = servers.keys();
  if (only !== undefined && others.length === 0) return servers.get(only);
  if (node.at('authorization_server').broken) return undefined;
  node.error(
    only === undefined
      ? `credential "${kind}" needs an authorization server: define one under authorization_servers, or set credential: none`
      : `missing key "authorization_server": there are several, so name one of ${[only, ...others].join(', ')}`,
  );
  return undefined;
}
