import { randomUUID } from 'node:crypto';
import type { IncomingMessage, RequestListener } from 'node:http';
import { createLocalJWKSet, exportJWK, generateKeyPair, type JWK, type JWTVerifyGetKey, SignJWT } from 'jose';
import type { OidcContext, Provider as OidcProvider } from 'oidc-provider';
import { type HttpServerOptions, startHttpServer } from './http-server.ts';
import { Provider, withoutWarnings } from './oidc-provider.ts';
import {
  type AuthorizationServerSettings,
  type ResourceRegistration,
  registerGrants,
  SIGNING_ALG,
} from './token-grants.ts';
import { TOKEN_EXCHANGE_GRANT } from './token-types.ts';

export type ClientRegistration =
  | { method: 'client_secret_basic' | 'client_secret_post'; secret: string }
  | { method: 'private_key_jwt'; publicKey: JWK }
  | { method: 'none' };

export interface AuthorizationServerOptions extends HttpServerOptions {
  /** By `client_id`. */
  clients: Readonly<Record<string, ClientRegistration>>;
  /** By resource URI. `resources` of the running server can be extended. */
  resources?: Readonly<Record<string, ResourceRegistration>>;
  settings?: Partial<AuthorizationServerSettings>;
  /** Path of the issuer, such as `/realms/agents`. The default is an empty path. */
  issuerPath?: string;
}

/** One request at the token endpoint, without secrets. */
export interface TokenRequestRecord {
  grant: string;
  client: string | undefined;
  resource: string[];
  audience: string[];
  scope: string | undefined;
  requestedTokenType: string | undefined;
  actor: boolean;
  /** The OAuth error of the response; undefined if a token was issued. */
  error: string | undefined;
}

export interface SubjectTokenFields {
  sub: string;
  audience: string | string[];
  ttlSeconds?: number;
  claims?: Record<string, unknown>;
}

export interface RunningAuthorizationServer {
  issuer: string;
  tokenEndpoint: string;
  jwksUri: string;
  resources: Map<string, ResourceRegistration>;
  settings: AuthorizationServerSettings;
  requests: TokenRequestRecord[];
  /** Internal errors of the server, for diagnosing a failed test. */
  faults: Error[];
  /** Issues a token like that of a user who signed in. */
  issueSubjectToken(fields: SubjectTokenFields): Promise<string>;
  close(): Promise<void>;
}

/** oidc-provider with token exchange (RFC 8693). It issues JWT access tokens for the requested resource. */
export async function startAuthorizationServer(
  options: AuthorizationServerOptions,
): Promise<RunningAuthorizationServer> {
  const { privateKey } = await generateKeyPair(SIGNING_ALG, { extractable: true });
  const signingKey: JWK = { ...(await exportJWK(privateKey)), alg: SIGNING_ALG, use: 'sig', kid: randomUUID() };
  const { d: _private, ...verificationKey } = signingKey;
  const resources = new Map(Object.entries(options.resources ?? {}));
  const settings: AuthorizationServerSettings = {
    issuedTokenTtlSeconds: 300,
    capBySubjectToken: true,
    requireClientInSubjectAudience: true,
    ...options.settings,
  };
  const path = options.issuerPath ?? '';
  // The issuer contains the port, so the server must listen before the provider is created.
  let listener: RequestListener = (_request, response) => response.writeHead(503).end();
  const server = await startHttpServer((request, response) => listener(mount(request, path), response), options);
  const issuer = `${server.url}${path}`;
  const requests: TokenRequestRecord[] = [];
  const faults: Error[] = [];
  const provider = createProvider({
    issuer,
    signingKey,
    keys: createLocalJWKSet({ keys: [verificationKey] }),
    clients: options.clients,
    resources,
    settings,
  });
  provider.on('grant.success', (ctx) => requests.push(record(ctx, undefined)));
  provider.on('grant.error', (ctx, error) => requests.push(record(ctx, error.message)));
  provider.on('server_error', (_ctx, error) => faults.push(error));
  listener = provider.callback();
  return {
    issuer,
    tokenEndpoint: `${issuer}/token`,
    jwksUri: `${issuer}/jwks`,
    resources,
    settings,
    requests,
    faults,
    issueSubjectToken: ({ sub, audience, ttlSeconds = 600, claims = {} }) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: SIGNING_ALG, typ: 'at+jwt', kid: signingKey.kid ?? '' })
        .setIssuer(issuer)
        .setSubject(sub)
        .setAudience(audience)
        .setIssuedAt()
        .setExpirationTime(Math.floor(Date.now() / 1000) + ttlSeconds)
        .setJti(randomUUID())
        .sign(privateKey),
    close: server.close,
  };
}

interface ProviderParts {
  issuer: string;
  signingKey: JWK;
  keys: JWTVerifyGetKey;
  clients: Readonly<Record<string, ClientRegistration>>;
  resources: ReadonlyMap<string, ResourceRegistration>;
  settings: AuthorizationServerSettings;
}

function createProvider(parts: ProviderParts): OidcProvider {
  const extraClaims = new WeakMap<object, Record<string, unknown>>();
  const provider = withoutWarnings(
    () =>
      new Provider(parts.issuer, {
        clients: Object.entries(parts.clients).map(([clientId, client]) => clientMetadata(clientId, client)),
        clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'],
        clientDefaults: { id_token_signed_response_alg: SIGNING_ALG },
        features: { devInteractions: { enabled: false }, userinfo: { enabled: false } },
        jwks: { keys: [parts.signingKey] },
        extraTokenClaims: (_ctx: OidcContext, token: object) => extraClaims.get(token),
      }),
  );
  provider.silent = true;
  registerGrants({ ...parts, provider, extraClaims });
  return provider;
}

function clientMetadata(clientId: string, client: ClientRegistration): Record<string, unknown> {
  return {
    client_id: clientId,
    token_endpoint_auth_method: client.method,
    grant_types: [TOKEN_EXCHANGE_GRANT, 'client_credentials'],
    response_types: [],
    redirect_uris: [],
    ...('secret' in client ? { client_secret: client.secret } : {}),
    ...('publicKey' in client ? { jwks: { keys: [client.publicKey] } } : {}),
  };
}

/** Serves an issuer with a path. Clients request metadata at two locations: see RFC 8414 section 3.1 and OpenID Discovery. */
function mount(request: IncomingMessage, path: string): IncomingMessage {
  const url = request.url ?? '/';
  const wellKnown = /^(\/\.well-known\/[^/?]+)(\/[^?]*)?/.exec(url);
  const inserted = wellKnown !== null && path !== '' && wellKnown[2] === path;
  const mounted = inserted ? `${path}${wellKnown[1]}` : url;
  // oidc-provider derives its mount path from Express's `originalUrl`.
  Object.assign(request, { originalUrl: mounted });
  if (mounted.startsWith(`${path}/`)) request.url = mounted.slice(path.length);
  else request.url = '/not-found';
  return request;
}

function record(ctx: OidcContext, error: string | undefined): TokenRequestRecord {
  const params = ctx.oidc.params ?? {};
  const one = (value: string | string[] | undefined) => (Array.isArray(value) ? value.join(' ') : value);
  return {
    grant: one(params.grant_type) ?? '',
    client: ctx.oidc.client?.clientId,
    resource: [params.resource ?? []].flat(),
    audience: [params.audience ?? []].flat(),
    scope: one(params.scope),
    requestedTokenType: one(params.requested_token_type),
    actor: params.actor_token !== undefined,
    error,
  };
}
