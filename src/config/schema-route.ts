import * as z from 'zod';
import { DEFAULTS } from './defaults.ts';
import {
  choice,
  duration,
  fileSource,
  flag,
  headerName,
  list,
  oneManyOr,
  oneOrMany,
  patterns,
  scopes,
  size,
  text,
  tls,
  tokenType,
} from './schema-values.ts';
import { introspection } from './verification.ts';

const verify = z
  .strictObject({
    issuer: text('Expected `iss`.'),
    audience: oneOrMany(
      'The `aud` must contain one of these. By default, the `client_id` at the authorization server. `any` turns the check off.',
    ).optional(),
    jwks_uri: text("URL of the issuer's keys. By default, from the issuer's metadata.").optional(),
    introspection: introspection.schema.optional(),
  })
  .meta({ description: 'Check of the subject token before any exchange: signature, `iss`, `aud` and `exp`.' });

const subjectToken = z
  .strictObject({
    header: headerName('Header with the caller’s token, with or without `Bearer `.', {
      default: DEFAULTS.subjectTokenHeader,
    }).optional(),
    type: tokenType(
      'Sent as `subject_token_type`: a short name or a full URN. In a chain by ID-JAG, the default is `id_token`.',
      { default: DEFAULTS.subjectTokenType },
    ).optional(),
    file: text('File with a token instead of a header, for work that has no caller.').optional(),
    scope: scopes(
      'Scopes that a caller’s token should have, separated by spaces. Named in 401 responses and in the metadata of the resource. Not checked.',
      { examples: ['api://cambist/.default'] },
    ).optional(),
    verify: verify.optional(),
  })
  .meta({ description: 'Source of the caller’s token.' });

const actorToken = z
  .strictObject({
    file: text('File of the token, read again when it rotates. A projected service-account token works.'),
    type: tokenType('Sent as `actor_token_type`: a short name or a full URN.', {
      default: DEFAULTS.actorTokenType,
    }).optional(),
  })
  .meta({ description: 'The workload’s own token, sent as RFC 8693 `actor_token` (delegation).' });

const timeouts = z
  .strictObject({
    connect: duration('Time to connect to the upstream. 0 means no timeout.', {
      default: DEFAULTS.connectTimeout,
    }).optional(),
    response_headers: duration('Time from the request to the response headers. 0 means no timeout.', {
      default: DEFAULTS.responseHeadersTimeout,
    }).optional(),
    stall: duration('How long an upload may wait for the upstream without a byte in either direction.', {
      default: DEFAULTS.stallTimeout,
    }).optional(),
  })
  .meta({ description: 'Timeouts for the upstream. Responses and event streams have none.' });

const chain = z
  .strictObject({
    authorization_server: text('Server of the first leg, which issues the assertion.'),
    assertion: choice(['id_jag', 'jwt'], 'Assertion of the first leg: an ID-JAG, or a JWT for identity chaining.', {
      default: DEFAULTS.chainAssertion,
    }).optional(),
  })
  .meta({
    description: 'Exchange in two legs: an assertion from another server, then a token from the server of the route.',
  });

const expectAudience = oneManyOr(
  z.strictObject({
    only: oneOrMany('The `aud` must contain nothing but these.'),
  }),
  'must be an audience, a list of audiences, any, or { only: … }',
  'The `aud` of an issued JWT must contain one of these. By default, one of the values sent as `resource` and `audience`. `any` turns the check off.',
  { examples: ['https://backend.example.com/mcp', { only: 'https://backend.example.com/mcp' }] },
);

const send = z
  .strictObject({
    header: headerName('Header that carries the credential to the upstream.', {
      default: DEFAULTS.sendHeader,
      examples: ['X-API-Key'],
    }).optional(),
    scheme: z
      .string()
      .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]*$/, { error: 'must be one word, such as Bearer, or an empty text for none' })
      .meta({
        description:
          'Word before the credential. By default, `Bearer` in `Authorization`, and none in another header. An empty text sends none.',
        examples: ['Bearer', ''],
      })
      .optional(),
  })
  .meta({ description: 'Where the credential goes: an issued token, or the secret of `credential: secret`.' });

/** Keys for a route and for `defaults`. */
export const routeKeys = {
  authorization_server: text(
    'Name of the authorization server that issues the token. Optional if there is only one.',
  ).optional(),
  credential: choice(
    ['exchange', 'client_credentials', 'secret', 'passthrough', 'none'],
    'Credential for the upstream: a token exchanged for the caller’s, one of cambist’s own client, a secret from a file, the caller’s own token, or none.',
    { default: DEFAULTS.credential },
  ).optional(),
  secret: fileSource(
    'File of an API key or a personal token, for `credential: secret`. Read again when it rotates.',
  ).optional(),
  send: send.optional(),
  resource: oneOrMany(
    'RFC 8707 `resource`: absolute URIs, sent as written. By default, the URI of the upstream, unless `audience` is set. `[]` sends none.',
  ).optional(),
  audience: oneOrMany('RFC 8693 `audience`: logical names of the backend, sent as written.').optional(),
  scope: scopes('Requested scopes, separated by spaces. An empty text requests none.').optional(),
  requested_token_type: tokenType(
    'RFC 8693 `requested_token_type`: a short name or a full URN. Not sent by default.',
  ).optional(),
  connection: text('Account provider whose token a vault holds, for the grant `token_vault`.', {
    examples: ['google-oauth2'],
  }).optional(),
  expect_audience: expectAudience.optional(),
  subject_token: subjectToken.optional(),
  actor_token: actorToken.optional(),
  on_missing_subject: choice(
    ['deny', 'client_credentials'],
    'For a request without a subject token: 401, or a token of cambist’s own client.',
    { default: DEFAULTS.onMissingSubject },
  ).optional(),
  chain: chain.optional(),
  consent_url: text(
    'https URL where a user consents or connects an account, if the authorization server requires it without naming a URL.',
    { examples: ['https://app.example.com/connect/github'] },
  ).optional(),
  timeouts: timeouts.optional(),
  retry_body_limit: size(
    'Largest request body that is kept for one retry after an upstream 401, at most 16MiB. On a route with `mcp_method` or `mcp_name` also the largest message, at most 1MiB.',
    { default: DEFAULTS.retryBodyLimit },
  ).optional(),
  step_up: z
    .array(z.string().min(1, { error: 'must not be empty' }))
    .max(100)
    .meta({
      description:
        'Scopes that an upstream may request by 403 `insufficient_scope`. cambist then adds them to the token and retries the request.',
      examples: [['repo:write']],
    })
    .optional(),
  allowed_origins: list('Origins of web pages that may call the route without a caller’s token. Others get 403.', {
    examples: [['https://app.example.com']],
  }).optional(),
  tls: tls('TLS files for the upstream.').optional(),
  allow_insecure_http: flag('Allow plain http to any host. The issued token then crosses the network unencrypted.', {
    default: false,
  }).optional(),
};

export const defaults = z
  .strictObject(routeKeys)
  .meta({ description: 'Route keys for all routes that do not set them.' });

/** The HTTP methods that a route may require: those of MCP, REST and browsers first, then the others that Node parses. */
const HTTP_METHODS = [
  ...['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'],
  ...['ACL', 'BIND', 'CHECKOUT', 'COPY', 'LINK', 'LOCK', 'M-SEARCH', 'MERGE', 'MKACTIVITY', 'MKCALENDAR', 'MKCOL'],
  ...['MOVE', 'NOTIFY', 'PROPFIND', 'PROPPATCH', 'PURGE', 'REBIND', 'REPORT', 'SEARCH', 'SOURCE', 'SUBSCRIBE'],
  ...['UNBIND', 'UNLINK', 'UNLOCK', 'UNSUBSCRIBE'],
] as const;

const match = z
  .strictObject({
    host: text('Host of the request, without port: an exact name, or `*.suffix` for any name that ends in `.suffix`.', {
      examples: ['github-mcp.tools.svc', '*.tools.svc'],
    }).optional(),
    path: text('Prefix of the path, in whole segments. By default, any path.', { examples: ['/mcp'] }).optional(),
    methods: z
      .array(z.enum(HTTP_METHODS))
      .min(1)
      .meta({ description: 'HTTP methods. By default, all except CONNECT and TRACE.', examples: [['GET', 'HEAD']] })
      .optional(),
    mcp_method: patterns('JSON-RPC method of the message in the body: an exact name, or a prefix followed by `*`.', {
      examples: ['tools/call'],
    }).optional(),
    mcp_name: patterns('Tool, prompt, resource or task of the message: an exact name, or a prefix followed by `*`.', {
      examples: [['delete_repo', 'write_*']],
    }).optional(),
  })
  .meta({ description: 'Requests for this route: a host, a path, or both, and further conditions.' });

export const route = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, {
        error: 'must consist of lower-case letters, digits and hyphens, and start and end with a letter or digit',
      })
      .max(63, { error: 'must be at most 63 characters long' })
      .meta({ description: 'Name of the route, for metrics and logs.' }),
    match,
    upstream: text('URL of the backend. Its path replaces the matched prefix. The query is kept.', {
      examples: ['https://github-mcp.example.com/mcp'],
    }),
    ...routeKeys,
  })
  .meta({ description: 'A backend, the requests for it, and the token that it gets.' });

export type DefaultsFile = z.infer<typeof defaults>;
export type MatchFile = z.infer<typeof match>;
export type RouteFile = z.infer<typeof route>;
