import * as z from 'zod';
import { DEFAULTS } from './defaults.ts';
import { introspection } from './schema-introspection.ts';
import { choice, flag, headerName, list, oneOrMany, text } from './schema-values.ts';

const verify = z
  .strictObject({
    issuer: text('Expected `iss`.'),
    audience: oneOrMany('The `aud` must contain one of these.'),
    jwks_uri: text("URL of the issuer's keys. By default, from the issuer's metadata.").optional(),
    introspection: introspection.optional(),
  })
  .meta({ description: 'Check of the caller’s token: signature, algorithm, `iss`, `aud` and `exp`.' });

export const inbound = z
  .strictObject({
    listen: text('Address that callers connect to: `host:port` or `unix:/path`.', { examples: ['0.0.0.0:8080'] }),
    agent: text('Address of the agent: `http://host:port` or `unix:/path`.', { examples: ['http://127.0.0.1:8081'] }),
    verify,
    open: list('Paths that need no token: exact, or a prefix followed by `*`.', {
      examples: [['/healthz', '/.well-known/agent-card.json']],
    }).optional(),
    claims: z
      .record(headerName('Header for the claim.'), z.string().min(1, { error: 'must not be empty' }))
      .meta({
        description: 'Claims of the caller’s token that the agent gets as headers, by header.',
        examples: [{ 'x-user-id': 'sub' }],
      })
      .optional(),
    allow_raw_tokens: flag('Accept tokens from the agent as well as handles.', {
      default: DEFAULTS.allowRawTokens,
    }).optional(),
    baggage: flag('Give the agent its handle in `baggage` as well, and accept it there.', {
      default: DEFAULTS.inboundBaggage,
    }).optional(),
    detached: choice(
      ['refuse', 'allow'],
      'Requests of the agent with a handle whose request from the caller is over.',
      { default: DEFAULTS.detached },
    ).optional(),
  })
  .meta({ description: 'The agent gets handles in place of its callers’ tokens.' });

export type InboundFile = z.infer<typeof inbound>;
