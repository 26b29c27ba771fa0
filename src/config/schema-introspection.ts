import * as z from 'zod';
import { DEFAULTS } from './defaults.ts';
import { duration, text } from './schema-values.ts';

export const introspection = z
  .strictObject({
    authorization_server: text(
      'Name of the server to ask. By default, the server whose issuer is `issuer`.',
    ).optional(),
    endpoint: text("URL of the introspection endpoint. By default, from the server's metadata.").optional(),
    cache: duration('How long a result is used, at most 5m, and never beyond the expiry of the token.', {
      default: DEFAULTS.introspectionCache,
    }).optional(),
  })
  .meta({ description: 'Ask the authorization server about each token (RFC 7662). The token may then be opaque.' });

export type IntrospectionFile = z.infer<typeof introspection>;
