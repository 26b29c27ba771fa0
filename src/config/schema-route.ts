import * as z from 'zod';
import { DEFAULTS } from './defaults.ts';
import { duration, headerName, oneManyOr, oneOrMany, patterns, size, text, tls, tokenType } from './schema-values.ts';

const verify = z
  .strictObject({
    issuer: text({ description: 'What `iss` must be.' }),
    audience: oneOrMany({
      description:
        'One of these must be in `aud`. Left out: the `client_id` at the authorization server. `any` turns the check off.',
    }).optional(),
    jwks_uri: text({ description: "Where the issuer's keys are. Left out: from its metadata." }).optional(),
  })
  .meta({ description: 'Checks the subject token (signature, `iss`, `aud`, `exp`) here, before any exchange.' });

const subjectToken = z
  .strictObject({
    header: headerName({
      description: 'Header that bears the caller’s token, with `Bearer ` or bare.',
      default: DEFAULTS.subjectTokenHeader,
    }).optional(),
    type: tokenType({
      description:
        'What it is sent as in `subject_token_type`: a short name or a full URN. In a chain by ID-JAG an `id_token` where left out.',
      default: DEFAULTS.subjectTokenType,
    }).optional(),
    file: text({ description: 'A file in place of a header, for work that has no caller.' }).optional(),
    verify: verify.optional(),
  })
  .meta({ description: 'Where the caller’s token is.' });

const actorToken = z
  .strictObject({
    file: text({
      description: 'File of the token, read anew when it rotates; a projected service-account token is fit.',
    }),
    type: tokenType({
      description: 'What it is sent as in `actor_token_type`: a short name or a full URN.',
      default: DEFAULTS.actorTokenType,
    }).optional(),
  })
  .meta({ description: 'The workload’s own token, sent as RFC 8693 `actor_token` (delegation).' });

const timeouts = z
  .strictObject({
    connect: duration({
      description: 'Until the connection to the upstream stands; 0 is none.',
      default: DEFAULTS.connectTimeout,
    }).optional(),
    response_headers: duration({
      description: 'From the request until the headers of the response; 0 is none.',
      default: DEFAULTS.responseHeadersTimeout,
    }).optional(),
    stall: duration({
      description: 'How long an upload may wait for the upstream without a byte in either direction.',
      default: DEFAULTS.stallTimeout,
    }).optional(),
  })
  .meta({ description: 'Timeouts for the upstream. Responses and event streams have none.' });

const chain = z
  .strictObject({
    authorization_server: text({ description: 'Server of the first leg, which issues the assertion.' }),
    assertion: z
      .enum(['id_jag', 'jwt'])
      .meta({
        description: 'What the first leg asks for: an ID-JAG, or a JWT for identity chaining.',
        default: DEFAULTS.chainAssertion,
      })
      .optional(),
  })
  .meta({ description: 'Two legs: an assertion from another server, then a token from the server of the route.' });

const expectAudience = oneManyOr(
  z.strictObject({
    only: oneOrMany({ description: 'The `aud` must contain nothing but these.' }),
  }),
  'must be an audience, a list of audiences, any, or { only: … }',
  {
    description:
      'The `aud` of an issued JWT must contain one of these. By default, one of the values sent as `resource` and `audience`. `any` turns the check off.',
    examples: ['https://backend.example.com/mcp', { only: 'https://backend.example.com/mcp' }],
  },
);

/** Keys that may stand on a route and in `defaults`. */
export const routeKeys = {
  authorization_server: text({
    description: 'Name of the authorization server that issues the token. May be left out where there is one.',
  }).optional(),
  credential: z
    .enum(['exchange', 'client_credentials', 'passthrough', 'none'])
    .meta({
      description:
        'What goes upstream as bearer: a token exchanged for the caller’s, one of our own, the caller’s own token, or none.',
      default: DEFAULTS.credential,
    })
    .optional(),
  resource: oneOrMany({
    description:
      'RFC 8707 `resource`, absolute URIs, sent verbatim. Left out, and no `audience` either: the canonical URI of the upstream. `[]` sends none.',
  }).optional(),
  audience: oneOrMany({ description: 'RFC 8693 `audience`: logical names of the backend, sent verbatim.' }).optional(),
  scope: z
    .string('must be one string, with a space between scopes')
    .meta({ description: 'Scopes to ask for, separated by spaces. Empty: none.' })
    .optional(),
  requested_token_type: tokenType({
    description: 'RFC 8693 `requested_token_type`: a short name or a full URN. Left out: not sent.',
  }).optional(),
  expect_audience: expectAudience.optional(),
  subject_token: subjectToken.optional(),
  actor_token: actorToken.optional(),
  on_missing_subject: z
    .enum(['deny', 'client_credentials'])
    .meta({
      description: 'For a request without a subject token: 401, or a token of our own.',
      default: DEFAULTS.onMissingSubject,
    })
    .optional(),
  chain: chain.optional(),
  timeouts: timeouts.optional(),
  retry_body_limit: size({
    description:
      'A request body up to this size is kept for one retry after an upstream 401; 16MiB at most. On a route with `mcp_method` or `mcp_name` also the largest message; 1MiB at most.',
    default: DEFAULTS.retryBodyLimit,
  }).optional(),
  step_up: z
    .array(z.string().min(1, { error: 'must not be empty' }))
    .max(100)
    .meta({
      description:
        'Scopes that an upstream may ask for by 403 `insufficient_scope`: they are then asked for as well, and the request sent once more.',
      examples: [['repo:write']],
    })
    .optional(),
  allowed_origins: z
    .array(z.string())
    .max(100)
    .meta({
      description:
        'Origins of web pages that may call the route without a caller’s token. Left out: none; such requests get 403.',
      examples: [['https://app.example.com']],
    })
    .optional(),
  http2: z.boolean().meta({ description: 'Speak HTTP/2 to an upstream that offers it.', default: false }).optional(),
  tls: tls('TLS files for the upstream.').optional(),
  allow_insecure_http: z
    .boolean()
    .meta({
      description: 'Allow plain http to any host: the issued token crosses the network in clear.',
      default: false,
    })
    .optional(),
};

export const defaults = z
  .strictObject(routeKeys)
  .meta({ description: 'Route keys for every route that does not set them itself.' });

/** What cambist takes from agents. */
const HTTP_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'] as const;

const match = z
  .strictObject({
    host: text({
      description: 'Host of the request, without port: exact, or `*.suffix` for any name that ends in `.suffix`.',
      examples: ['github-mcp.tools.svc', '*.tools.svc'],
    }).optional(),
    path: text({
      description: 'Prefix of the path, in whole segments. Left out: every path.',
      examples: ['/mcp'],
    }).optional(),
    methods: z
      .array(z.enum(HTTP_METHODS))
      .min(1)
      .meta({ description: 'HTTP methods. Left out: all.', examples: [['GET', 'HEAD']] })
      .optional(),
    mcp_method: patterns({
      description: 'JSON-RPC method of the message in the body: exact, or a beginning with `*` after it.',
      examples: ['tools/call'],
    }).optional(),
    mcp_name: patterns({
      description: 'Tool, prompt, resource or task that the message is about: exact, or a beginning with `*` after it.',
      examples: [['delete_repo', 'write_*']],
    }).optional(),
  })
  .meta({ description: 'Which requests take this route: a host, a path, or both, and maybe more.' });

export const route = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, {
        error: 'must be lower-case letters, digits and hyphens, and neither begin nor end with a hyphen',
      })
      .max(63, { error: 'must be at most 63 characters long' })
      .meta({ description: 'Name of the route: its label in metrics and logs.' }),
    match,
    upstream: text({
      description: 'URL of the backend. Its path takes the place of the matched prefix; the query is kept.',
      examples: ['https://github-mcp.example.com/mcp'],
    }),
    ...routeKeys,
  })
  .meta({ description: 'One backend: which requests go to it, and with what token.' });

export type DefaultsFile = z.infer<typeof defaults>;
export type MatchFile = z.infer<typeof match>;
export type RouteFile = z.infer<typeof route>;
