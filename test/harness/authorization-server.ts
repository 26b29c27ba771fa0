import { randomUUID } from 'node:crypto';
import type { RequestListener } from 'node:http';
import {
  createLocalJWKSet,
  exportJWK,
  generateKeyPair,
  type JWK,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
  SignJWT,
} from 'jose';
import type { OidcAccessToken, OidcContext, Provider as OidcProvider } from 'oidc-provider';
import { type HttpServerOptions, startHttpServer } from './http-server.ts';
import { errors, Provider, withoutWarnings } from './oidc-provider.ts';

/** Identifiers of RFC 8693 for its grant and for the type of all tokens. */
const TOKEN_EXCHANGE_GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ACCESS_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:access_token';

type ClientRegistration = { method: 'client_secret_basic'; secret: string } | { method: 'none' };

interface AuthorizationServerOptions extends HttpServerOptions {
  /** The clients by `client_id`. */
  clients: Readonly<Record<string, ClientRegistration>>;
  /** The resources by URI. `resources` of the running server can be extended. */
  resources?: Readonly<Record<string, ResourceRegistration>>;
}

export interface SubjectTokenFields {
  sub: string;
  audience: string | string[];
  ttlSeconds?: number;
  claims?: Record<string, unknown>;
}

export type RunningAuthorizationServer = Awaited<ReturnType<typeof startAuthorizationServer>>;

/** oidc-provider with token exchange (RFC 8693). It issues JWT access tokens for the requested resource. */
export async function startAuthorizationServer(options: AuthorizationServerOptions) {
  const { privateKey } = await generateKeyPair(SIGNING_ALG, { extractable: true });
  const signingKey: JWK = { ...(await exportJWK(privateKey)), alg: SIGNING_ALG, use: 'sig', kid: randomUUID() };
  const { d: _private, ...verificationKey } = signingKey;
  const resources = new Map(Object.entries(options.resources ?? {}));
  // The issuer contains the port, so the server must listen before the provider is created.
  let listener: RequestListener = (_request, response) => response.writeHead(503).end();
  const server = await startHttpServer((request, response) => listener(request, response), options);
  const issuer = server.url;
  const requests: ReturnType<typeof record>[] = [];
  const provider = withoutWarnings(
    () =>
      new Provider(issuer, {
        clients: Object.entries(options.clients).map(([clientId, client]) => clientMetadata(clientId, client)),
        clientAuthMethods: ['client_secret_basic', 'none'],
        clientDefaults: { id_token_signed_response_alg: SIGNING_ALG },
        features: { devInteractions: { enabled: false }, userinfo: { enabled: false } },
        jwks: { keys: [signingKey] },
      }),
  );
  provider.silent = true;
  const context = { issuer, keys: createLocalJWKSet({ keys: [verificationKey] }), resources, provider };
  const parameters = new Set(['resource', 'scope', 'subject_token', 'subject_token_type']);
  provider.registerGrantType(TOKEN_EXCHANGE_GRANT, (ctx) => exchangeToken(context, ctx), parameters);
  provider.on('grant.success', (ctx) => requests.push(record(ctx, undefined)));
  provider.on('grant.error', (ctx, error) => requests.push(record(ctx, error.message)));
  listener = provider.callback();
  return {
    issuer,
    tokenEndpoint: `${issuer}/token`,
    jwksUri: `${issuer}/jwks`,
    resources,
    requests,
    /** Issues a token like that of a user who signed in. */
    issueSubjectToken: ({ sub, audience, ttlSeconds = 600, claims = {} }: SubjectTokenFields) =>
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

interface GrantContext {
  issuer: string;
  keys: JWTVerifyGetKey;
  resources: ReadonlyMap<string, ResourceRegistration>;
  provider: OidcProvider;
}

function clientMetadata(clientId: string, client: ClientRegistration): Record<string, unknown> {
  return {
    client_id: clientId,
    token_endpoint_auth_method: client.method,
    grant_types: [TOKEN_EXCHANGE_GRANT],
    response_types: [],
    redirect_uris: [],
    ...('secret' in client ? { client_secret: client.secret } : {}),
  };
}

/** @param error the OAuth error of the response; undefined if a token was issued */
function record(ctx: OidcContext, error: string | undefined) {
  return { resource: [ctx.oidc.params?.resource ?? []].flat(), error };
}

const SIGNING_ALG = 'ES256';

/** A backend for which tokens may be issued. Its URI is its key in the map of resources. */
interface ResourceRegistration {
  scopes: readonly string[];
}

const ISSUED_TTL_SECONDS = 300;

type Target = ReturnType<typeof resolveTarget>;

/** The issued token is bound to the requested resource. */
async function exchangeToken(context: GrantContext, ctx: OidcContext): Promise<void> {
  const params = ctx.oidc.params ?? {};
  const client = ctx.oidc.client?.clientId ?? '';
  const subject = await verify(context, params.subject_token, params.subject_token_type);
  // Keycloak's rule.
  if (![subject.aud].flat().includes(client)) {
    throw new errors.AccessDenied('Client is not within the token audience');
  }
  const target = resolveTarget(context.resources, params);
  const remainingSeconds = (subject.exp ?? 0) - Math.floor(Date.now() / 1000);
  const token = new context.provider.AccessToken({
    client: ctx.oidc.client,
    accountId: subject.sub,
    expiresIn: Math.min(ISSUED_TTL_SECONDS, remainingSeconds),
  });
  ctx.body = await sign(context, token, target);
}

async function sign(context: GrantContext, token: OidcAccessToken, target: Target): Promise<Record<string, unknown>> {
  token.resourceServer = new context.provider.ResourceServer(target.audience, {
    scope: target.scope ?? '',
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: SIGNING_ALG } },
  });
  if (target.scope !== undefined) token.scope = target.scope;
  return {
    access_token: await token.save(),
    expires_in: token.expiration,
    scope: target.scope,
    token_type: token.tokenType,
    issued_token_type: ACCESS_TOKEN_TYPE,
  };
}

async function verify(context: GrantContext, token: unknown, type: unknown): Promise<JWTPayload> {
  if (typeof token !== 'string') throw new errors.InvalidRequest('subject_token is missing');
  if (type !== ACCESS_TOKEN_TYPE) throw new errors.InvalidRequest('subject_token_type is missing or not supported');
  try {
    const options = { issuer: context.issuer, algorithms: [SIGNING_ALG], requiredClaims: ['sub', 'exp', 'aud'] };
    return (await jwtVerify(token, context.keys, options)).payload;
  } catch {
    throw new errors.InvalidRequest('subject_token is invalid or expired');
  }
}

function resolveTarget(
  resources: ReadonlyMap<string, ResourceRegistration>,
  { resource, scope }: NonNullable<OidcContext['oidc']['params']>,
) {
  const registered = typeof resource === 'string' ? resources.get(resource) : undefined;
  if (registered === undefined) throw new errors.InvalidTarget('resource is missing or unknown');
  const requested = typeof scope === 'string' ? scope.split(' ') : registered.scopes;
  const refused = requested.find((name) => !registered.scopes.includes(name));
  if (refused !== undefined) throw new errors.InvalidScope('scope is not allowed for this resource', refused);
  return { audience: String(resource), scope: requested.length === 0 ? undefined : requested.join(' ') };
}
