import * as z from 'zod';
import { DEFAULTS } from './defaults.ts';
import { choice, duration, fileSource, flag, oneOrMany, text } from './schema-values.ts';

const transmitter = z
  .strictObject({
    issuer: text('Expected `iss` of its events, and of the tokens that they are about.'),
    audience: oneOrMany('The `aud` of its events must contain one of these.'),
    jwks_uri: text("URL of its keys. By default, from the issuer's metadata.").optional(),
    delivery: choice(
      ['push', 'poll'],
      'How Shared Signals arrive. `push`: the transmitter sends each to `/events/NAME` (RFC 8935). `poll`: cambist asks for them (RFC 8936).',
    ).optional(),
    authorization: fileSource(
      'File of the value of the `Authorization` header that the transmitter sends with each event, or that cambist sends with each poll.',
    ).optional(),
    authorization_server: text(
      "Server that issues the token of cambist's requests to the transmitter, by client credentials. In place of `authorization`, for polls.",
    ).optional(),
    scope: text('Scopes of that token, with a space between them.', { examples: ['ssf.read ssf.manage'] }).optional(),
    poll_endpoint: text('URL to poll: the `endpoint_url` of the stream at the transmitter.').optional(),
    poll_interval: duration(
      'Pause between polls at a transmitter that does not delay its responses until there is an event, from 250ms to 10m.',
      { default: DEFAULTS.pollInterval },
    ).optional(),
    backchannel_logout: flag('Accept OpenID Connect back-channel logouts at `/logout/NAME`.', {
      default: false,
    }).optional(),
  })
  .meta({ description: 'An issuer that says whose tokens are revoked.' });

export const signals = z
  .strictObject({
    listen: text('Address that transmitters connect to: `host:port` or `unix:/path`.', {
      examples: ['0.0.0.0:8190'],
    }).optional(),
    remember: duration('How long a revocation is kept, from 1m to 720h: at least the longest lifetime of a token.', {
      default: DEFAULTS.remember,
    }).optional(),
    transmitters: z
      .record(
        z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, {
          error: 'the name of a transmitter must consist of lower-case letters, digits and hyphens, at most 63',
        }),
        transmitter,
      )
      .meta({ description: 'Transmitters by name. Their URLs, metrics and logs use the name.' }),
  })
  .meta({ description: 'Revocation: Shared Signals and back-channel logout.' });

export type SignalsFile = z.infer<typeof signals>;
