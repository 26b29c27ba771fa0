import { type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import type { OidcAccessToken, OidcContext, Provider } from 'oidc-provider';
import { errors } from './oidc-provider.ts';
import { ACCESS_TOKEN_TYPE, ID_TOKEN_TYPE, JWT_TOKEN_TYPE, TOKEN_EXCHANGE_GRANT } from './token-types.ts';

export const SIGNING_ALG = 'ES256';

/** A backend for which tokens may be issued. Its URI is its key in the map of resources. */
export interface ResourceRegistration {
  scopes: readonly string[];
  /** The logical name for the parameter `audience` (RFC 8693). */
  audience?: string;
}

/** Settings that can change while the server runs. */
export interface AuthorizationServerSettings {
  issuedTokenTtlSeconds: number;
  /** Limits the lifetime of an issued token to that of the subject token. */
  capBySubjectToken: boolean;
  /** Keycloak's rule: the subject token's `aud` must contain the client that exchanges it. */
  requireClientInSubjectAudience: boolean;
}

export interface GrantContext {
  provider: Provider;
  issuer: string;
  keys: JWTVerifyGetKey;
  resources: ReadonlyMap<string, ResourceRegistration>;
  settings: AuthorizationServerSettings;
  /** Claims that oidc-provider adds to a token before it signs the token. */
  extraClaims: WeakMap<object, Record<string, unknown>>;
}

interface Target {
  audience: string[];
  scope: string | undefined;
}

const TARGET_PARAMETERS = ['resource', 'audience', 'scope'];
const REPEATABLE = new Set(['resource', 'audience']);
const SUBJECT_TOKEN_TYPES: readonly unknown[] = [ACCESS_TOKEN_TYPE, JWT_TOKEN_TYPE, ID_TOKEN_TYPE];
const ISSUED_TOKEN_TYPES: readonly string[] = [ACCESS_TOKEN_TYPE, JWT_TOKEN_TYPE];

/** Registers the two grants that cambist uses. Both bind the issued token to the requested resource or audience. */
export function registerGrants(context: GrantContext): void {
  context.provider.registerGrantType(
    TOKEN_EXCHANGE_GRANT,
    (ctx) => exchangeToken(context, ctx),
    new Set([
      ...TARGET_PARAMETERS,
      'subject_token',
      'subject_token_type',
      'actor_token',
      'actor_token_type',
      'requested_token_type',
    ]),
    REPEATABLE,
  );
  context.provider.registerGrantType(
    'client_credentials',
    (ctx) => issueToClient(context, ctx),
    new Set(TARGET_PARAMETERS),
    REPEATABLE,
  );
}

async function exchangeToken(context: GrantContext, ctx: OidcContext): Promise<void> {
  const { settings } = context;
  const params = ctx.oidc.params ?? {};
  const client = ctx.oidc.client?.clientId ?? '';
  const issuedTokenType = params.requested_token_type ?? ACCESS_TOKEN_TYPE;
  if (typeof issuedTokenType !== 'string' || !ISSUED_TOKEN_TYPES.includes(issuedTokenType)) {
    throw new errors.InvalidRequest('requested_token_type is not supported');
  }
  const subject = await verify(context, 'subject_token', params.subject_token, params.subject_token_type);
  if (settings.requireClientInSubjectAudience && ![subject.aud].flat().includes(client)) {
    throw new errors.AccessDenied('Client is not within the token audience');
  }
  const actor = await verifyActor(context, params);
  const target = resolveTarget(context.resources, params);
  const remainingSeconds = (subject.exp ?? 0) - Math.floor(Date.now() / 1000);
  const token = new context.provider.AccessToken({
    client: ctx.oidc.client,
    accountId: subject.sub,
    expiresIn: settings.capBySubjectToken
      ? Math.min(settings.issuedTokenTtlSeconds, remainingSeconds)
      : settings.issuedTokenTtlSeconds,
  });
  if (actor !== undefined) {
    // RFC 8693 section 4.1: the previous actor is nested in the new one.
    const act = subject.act === undefined ? { sub: actor.sub } : { sub: actor.sub, act: subject.act };
    context.extraClaims.set(token, { act });
  }
  ctx.body = await sign(context, token, target, issuedTokenType);
}

async function issueToClient(context: GrantContext, ctx: OidcContext): Promise<void> {
  const target = resolveTarget(context.resources, ctx.oidc.params ?? {});
  const token = new context.provider.ClientCredentials({
    client: ctx.oidc.client,
    expiresIn: context.settings.issuedTokenTtlSeconds,
  });
  ctx.body = await sign(context, token, target, undefined);
}

async function sign(
  context: GrantContext,
  token: OidcAccessToken,
  target: Target,
  issuedTokenType: string | undefined,
): Promise<Record<string, unknown>> {
  token.resourceServer = new context.provider.ResourceServer(target.audience[0] ?? '', {
    scope: target.scope ?? '',
    accessTokenFormat: 'jwt',
    jwt: { sign: { alg: SIGNING_ALG } },
  });
  // Set after `resourceServer`, whose setter allows one audience only.
  const [first, ...rest] = target.audience;
  token.aud = rest.length === 0 && first !== undefined ? first : target.audience;
  if (target.scope !== undefined) token.scope = target.scope;
  return {
    access_token: await token.save(),
    expires_in: token.expiration,
    scope: target.scope,
    token_type: token.tokenType,
    issued_token_type: issuedTokenType,
  };
}

async function verifyActor(
  context: GrantContext,
  params: NonNullable<OidcContext['oidc']['params']>,
): Promise<JWTPayload | undefined> {
  if (params.actor_token === undefined && params.actor_token_type === undefined) return undefined;
  return verify(context, 'actor_token', params.actor_token, params.actor_token_type);
}

async function verify(context: GrantContext, name: string, token: unknown, type: unknown): Promise<JWTPayload> {
  if (typeof token !== 'string') throw new errors.InvalidRequest(`${name} is missing`);
  if (!SUBJECT_TOKEN_TYPES.includes(type)) throw new errors.InvalidRequest(`${name}_type is missing or not supported`);
  try {
    const options = { issuer: context.issuer, algorithms: [SIGNING_ALG], requiredClaims: ['sub', 'exp', 'aud'] };
    return (await jwtVerify(token, context.keys, options)).payload;
  } catch {
    throw new errors.InvalidRequest(`${name} is invalid or expired`);
  }
}

/** A request can contain both `resource` and `audience`. The issued token is then for all of them. */
function resolveTarget(
  resources: ReadonlyMap<string, ResourceRegistration>,
  params: NonNullable<OidcContext['oidc']['params']>,
): Target {
  const wanted = [params.resource ?? [], params.audience ?? []].flat();
  if (wanted.length === 0) throw new errors.InvalidTarget('resource and audience are missing');
  const allowed = new Set<string>();
  for (const name of [params.resource ?? []].flat()) {
    const resource = resources.get(name);
    if (resource === undefined) throw new errors.InvalidTarget('resource is unknown');
    for (const scope of resource.scopes) allowed.add(scope);
  }
  for (const name of [params.audience ?? []].flat()) {
    const resource = [...resources.values()].find((candidate) => candidate.audience === name);
    if (resource === undefined) throw new errors.InvalidTarget('audience is unknown');
    for (const scope of resource.scopes) allowed.add(scope);
  }
  const requested = typeof params.scope === 'string' ? params.scope.split(' ') : [...allowed];
  const refused = requested.find((scope) => !allowed.has(scope));
  if (refused !== undefined) throw new errors.InvalidScope('scope is not allowed for this resource', refused);
  return { audience: [...new Set(wanted)], scope: requested.length === 0 ? undefined : requested.join(' ') };
}
