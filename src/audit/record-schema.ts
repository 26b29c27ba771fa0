import * as z from 'zod';
import { ERROR_CODES } from '../error-catalogue.ts';
import { CACHE_RESULTS } from '../observability/token-observer.ts';

const count = z.number().int().min(0);
const name = z.string().max(300);

const claims = z.record(z.string(), z.unknown()).meta({
  description:
    'Configured claims. `act` is nested as in RFC 8693 section 4.1: the outermost actor is the current one. A pseudonym begins with `hmac:`.',
});

const identity = z
  .strictObject({
    verified: z.boolean().meta({
      description: 'True if cambist verified the token, or the authorization server did before it issued another.',
    }),
    from: z.enum(['caller_token', 'issued_token', 'actor_token']).meta({ description: 'Token that has these claims.' }),
    claims,
  })
  .meta({ id: 'Identity' });

const identities = {
  subject: identity.meta({ description: 'The user or service that the request was for.' }).optional(),
  caller: identity
    .meta({ description: "The unverified claims of the caller's token, where `subject` is from the issued token." })
    .optional(),
  actor: identity.meta({ description: 'The party that acted for the subject.' }).optional(),
};

const issuedToken = z
  .strictObject({
    authorization_server: name.meta({ description: 'Name in the config.' }).optional(),
    jti: z.string().optional(),
    aud: z.array(z.string()).optional(),
    scope: z.string().optional(),
    exp: z.number().optional(),
    act: claims.optional(),
    opaque: z.literal(true).meta({ description: 'The token is not a JWT, so it has no claims to record.' }).optional(),
  })
  .meta({ id: 'IssuedToken', description: 'Claims of the issued token. Never the token.' });

const mcpMessage = {
  method: name.meta({ description: 'MCP method, as the caller wrote it.' }).optional(),
  name: name.meta({ description: 'Tool, prompt, resource or task, as the caller wrote it.' }).optional(),
  withheld: z.literal(true).meta({ description: 'Method and name are left out: they look like a token.' }).optional(),
};

const mcp = z
  .strictObject({
    from: z.enum(['header', 'body', 'unread']).meta({
      description: '`unread`: the body was compressed, or larger than `retry_body_limit`.',
    }),
    ...mcpMessage,
    batch: z.array(z.strictObject(mcpMessage)).optional(),
    problem: z.string().meta({ description: 'Why the message in the body cannot be read.' }).optional(),
    disagrees: z.literal(true).meta({ description: 'The headers name another message than the body.' }).optional(),
    protocol_version: z.string().optional(),
  })
  .meta({ id: 'McpMessage' });

const common = {
  kind: z.literal('audit'),
  time: z.iso.datetime(),
};

const error = z.enum(ERROR_CODES);

const request = z
  .strictObject({
    ...common,
    event: z.literal('request'),
    request_id: z.string(),
    trace_id: z.string().optional(),
    agent: name.meta({ description: 'Name of the agent that sent it, in the config.' }).optional(),
    route: name.optional(),
    team: name
      .meta({ description: 'Owner of the route, or of the region of a request that no route takes.' })
      .optional(),
    tunnel: z.string().meta({ description: 'Destination of a CONNECT tunnel.' }).optional(),
    http_method: z.string(),
    decision: z.enum(['forwarded', 'responded', 'refused', 'failed', 'cancelled']),
    status: count,
    error: error.optional(),
    duration_ms: z.number().min(0),
    ...identities,
    mcp: mcp.optional(),
    token: issuedToken.optional(),
    cache: z.enum(CACHE_RESULTS).optional(),
    step_up: z.array(z.string()).meta({ description: 'Scopes that the backend asked for, and got.' }).optional(),
  })
  .meta({ id: 'Request', description: 'A request, at the beginning of its response.' });

const exchange = z
  .strictObject({
    ...common,
    event: z.literal('exchange'),
    request_id: z.string().meta({ description: 'The request that caused it. Others may use its token.' }).optional(),
    trace_id: z.string().optional(),
    route: name,
    authorization_server: name,
    refresh: z.boolean(),
    result: z.enum(['issued', 'refused']),
    error: error.optional(),
    oauth_error: z.string().optional(),
    duration_ms: z.number().min(0),
    ...identities,
    requested: z.strictObject({
      resource: z.array(z.string()).optional(),
      audience: z.array(z.string()).optional(),
      scope: z.string().optional(),
    }),
    token: issuedToken.optional(),
  })
  .meta({ id: 'Exchange', description: 'A token request to an authorization server.' });

const revocation = z
  .strictObject({
    ...common,
    event: z.literal('revocation'),
    result: z.enum(['applied', 'unchanged']).meta({ description: '`unchanged`: these tokens were revoked before.' }),
    claims: claims.meta({ description: 'Whose tokens: `iss`, `sub`, and `sid` for one session.' }),
  })
  .meta({ id: 'Revocation', description: 'Tokens that an operator revoked with `cambist revoke`.' });

const lost = z
  .strictObject({ ...common, event: z.literal('lost'), records: count })
  .meta({ id: 'Lost', description: 'Records were dropped before this one.' });

/** Schema of audit records. `config/audit.schema.json` publishes it. */
const recordSchema = z.discriminatedUnion('event', [request, exchange, revocation, lost]).meta({
  $id: 'https://cambist.dev/config/v1/audit.schema.json',
  title: 'cambist audit record',
  description: 'One line of the audit trail of cambist.',
});

export type Identity = z.infer<typeof identity>;
export type IssuedTokenRecord = Readonly<z.infer<typeof issuedToken>>;
export type AuditRecord = z.infer<typeof recordSchema>;
export type RequestAuditRecord = z.infer<typeof request>;
export type ExchangeAuditRecord = z.infer<typeof exchange>;
export type RevocationAuditRecord = z.infer<typeof revocation>;

/** The JSON Schema (draft 2020-12) of audit records. */
export function recordJsonSchema(): Record<string, unknown> {
  const { $schema, $id, title, description, ...rest } = z.toJSONSchema(recordSchema, { target: 'draft-2020-12' });
  return { $schema, $id, title, description, ...rest };
}
