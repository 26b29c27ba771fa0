import type { ConfigNode } from '../documents/config-node.ts';
import type { CredentialSource } from '../secrets/credential.ts';
import type { AuthorizationServer, ServerScope, Servers } from './authorization-server.ts';
import { type About, optional, optionalSection, type Place, required, type Values, valueKey } from './key.ts';
import {
  choice,
  duration,
  headerName,
  jwtSvidAudience,
  oneOrManySchema,
  ownToken,
  scopes,
  serverName,
  text,
  tokenFile,
  tokenType,
} from './kinds.ts';
import { namedAudiences, readAudiences } from './targets.ts';
import { checkUrl } from './urls.ts';

/** Reads at least one audience. */
export function audiences<const Rules extends About>(description: string, rules = {} as Rules) {
  return valueKey(oneOrManySchema, 'text or list', description, rules, namedAudiences);
}

const introspectionKeys = {
  authorization_server: serverName('Name of the server to ask. By default, the server whose issuer is `issuer`.', {
    without: 'the server with that issuer',
    page: 'tokens.md#introspection',
  }),
  endpoint: text("URL of the introspection endpoint. By default, from the server's metadata.", {
    form: 'URL',
    without: 'from the metadata',
  }),
  cache: duration('How long a result is used, at most 5m, and never beyond the expiry of the token.', {
    default: '10s',
    min: '1s',
    max: '5m',
  }),
};

export const introspection = optionalSection(
  'Ask the authorization server about each token (RFC 7662). The token may then be opaque.',
  introspectionKeys,
);

export const jwksUri = text("URL of the issuer's keys. By default, from the issuer's metadata.", {
  form: 'URL',
  without: 'from the metadata',
});

export interface SubjectVerification {
  readonly issuer: string;
  /** One of these must be in `aud`. */
  readonly audience: readonly string[] | 'any';
  /** URL of the issuer's keys. Undefined: its metadata names it. */
  readonly jwksUri: string | undefined;
  /** PEM file of the CA for metadata and keys: the one of the authorization server with the same issuer. */
  readonly ca: string | undefined;
  readonly allowInsecureHttp: boolean;
  /** Sent with requests to `jwksUri`. */
  readonly jwksToken?: CredentialSource | undefined;
  /** Asks a server about each token. Keys then count only where `jwksUri` is set. Without it, the token must be a JWT. */
  readonly introspection?: Introspection | undefined;
}

/** The authorization server says whether a token is active, and whose it is (RFC 7662). */
export interface Introspection extends Omit<Values<typeof introspectionKeys>, 'authorizationServer'> {
  /** The server that is asked, as its client. */
  readonly authorizationServer: AuthorizationServer;
}

/**
 * Checks the URL that leads to an issuer's keys: `jwks_uri`, or the issuer, whose metadata names it. With introspection alone,
 * cambist connects to neither.
 */
export function checkKeysUrl(
  keys: Pick<SubjectVerification, 'issuer' | 'jwksUri' | 'allowInsecureHttp'> & { readonly introspection?: unknown },
  node: ConfigNode,
): void {
  const { issuer, jwksUri: uri, allowInsecureHttp } = keys;
  checkUrl(uri, node.at('jwks_uri'), { allowInsecureHttp, allowQuery: true });
  if (uri !== undefined || keys.introspection !== undefined) return;
  checkUrl(issuer, node.at('issuer'), { allowInsecureHttp, allowQuery: false });
}

interface VerifyKeys<Audience> {
  readonly issuer: string;
  readonly audience: Audience;
  readonly jwksUri: string | undefined;
  readonly introspection: Values<typeof introspectionKeys> | undefined;
}

/** Makes the rules of `verify`. */
export function resolveVerification<Audience>(
  { introspection: keys, ...rules }: VerifyKeys<Audience>,
  { node, scope: { servers, allowInsecureHttp = false } }: Place<ServerScope>,
) {
  checkKeysUrl({ ...rules, allowInsecureHttp, introspection: keys }, node);
  const asked = keys && resolveIntrospection(keys, rules.issuer, servers, node.at('introspection'));
  const ca = serverOf(rules.issuer, servers)?.tls?.ca;
  return { ...rules, allowInsecureHttp, ca, ...(asked !== undefined && { introspection: asked }) };
}

/** @param issuer of the tokens @returns undefined after an error */
function resolveIntrospection(
  { authorizationServer: name, endpoint, cacheMs }: Values<typeof introspectionKeys>,
  issuer: string,
  servers: Servers,
  node: ConfigNode,
): Introspection | undefined {
  const server = name === undefined ? serverOf(issuer, servers) : servers.get(name);
  if (server === undefined) {
    // A server with an error of its own may be the one.
    if (name === undefined && ![...servers.values()].includes(undefined)) {
      node.error(
        'missing key "authorization_server": no authorization server has this issuer: name the one to ask, or set its issuer',
      );
    }
    return undefined;
  }
  if (server.clientAuth.method === 'none') {
    node.error(
      `asks authorization server "${server.name}", which has no client_auth: introspection needs client authentication`,
    );
  }
  checkUrl(endpoint, node.at('endpoint'), { allowInsecureHttp: server.allowInsecureHttp, allowQuery: true });
  if (endpoint === undefined && server.issuer === undefined) {
    node.error(`missing key "endpoint": authorization server "${server.name}" has no issuer whose metadata names it`);
  }
  return { authorizationServer: server, endpoint, cacheMs };
}

export function serverOf(issuer: string, servers: Servers): AuthorizationServer | undefined {
  return [...servers.values()].find((server) => server?.issuer === issuer);
}

const verify = optionalSection(
  'Check of the subject token before any exchange: signature, `iss`, `aud` and `exp`.',
  {
    issuer: required(text('Expected `iss`.', { form: 'URL', page: 'tokens.md#verification' })),
    audience: valueKey(
      oneOrManySchema,
      'text, list or `any`',
      'The `aud` must contain one of these. By default, the `client_id` at the authorization server. `any` turns the check off.',
      { without: 'the `client_id`' },
      readAudiences,
    ),
    jwks_uri: jwksUri,
    introspection,
  },
  { finish: (values, place: Place<ServerScope>) => resolveVerification(values, place) },
);

export const DEFAULT_SUBJECT_HEADER = 'authorization';

export const subjectToken = optionalSection(
  'Source of the caller’s token.',
  {
    header: headerName(
      'Header with the caller’s token, with or without `Bearer `. Only `passthrough` routes forward it.',
      { default: DEFAULT_SUBJECT_HEADER },
    ),
    // The default depends on the credential of the route.
    type: optional(
      tokenType(
        'Sent as `subject_token_type`: a short name or a full URN. In a chain by ID-JAG, the default is `id_token`; with `from: spiffe`, `jwt`.',
        { default: 'access_token' },
      ),
    ),
    file: tokenFile('File with a token instead of a header, for work that has no caller.', {
      page: 'tokens.md#subject-tokens',
    }),
    from: choice(['spiffe'], '`spiffe`: a JWT-SVID of cambist instead of a header, for work that has no caller.'),
    audience: jwtSvidAudience,
    scope: scopes(
      'Scopes that a caller’s token should have, separated by spaces. Named in 401 responses and in the metadata of the resource. Not checked.',
      { examples: ['api://cambist/.default'], page: 'routing.md#metadata-for-clients' },
    ),
    verify,
  },
  {
    check(_values, { node }, { header, file, from, scope }) {
      const own = file === undefined ? from && 'from' : 'file';
      if (header !== undefined && own !== undefined) {
        node.error(
          `has both "header" and "${own}": keep "header" for the caller's token, or "${own}" for cambist's own`,
        );
      }
      if (scope !== undefined && own !== undefined) {
        const why = `has no effect with "${own}": remove it, because the callers of this route need no token`;
        node.at('scope').warn(why, 'key');
      }
      // MCP 2026-07-28, Authorization, "Refresh Tokens": no resource needs it.
      if (scope?.split(/\s+/).includes('offline_access') === true) {
        const why =
          'tells clients to request "offline_access": remove it, because clients that want a refresh token add it themselves';
        node.at('scope').warn(why);
      }
    },
    finish({ file, from, audience, ...others }, { node, scope }) {
      return { ...others, own: ownToken({ file, from, audience }, node, scope) };
    },
  },
);
