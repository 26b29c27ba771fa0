import * as z from 'zod';
import { DEFAULTS } from './defaults.ts';
import { choice, credentialSource, fileSource, flag } from './schema-values.ts';

const TO_FORM = 'must be stdout, otlp, unix:/path/of/socket, or { file: /path/of/file }';

const MAX_CLAIMS = 32;

/** A claim is named by any text in a token; these are the names that issuers use. */
const claimName = z.string().regex(/^[\x21-\x7e]{1,128}$/, {
  error: 'must be the name of a claim: at most 128 printable ASCII characters, without spaces',
});

const pseudonymize = z
  .strictObject({
    key: credentialSource(
      'Key of the HMAC, at least 32 characters. The same key gives the same pseudonym for the same value.',
    ),
    claims: z
      .array(claimName)
      .min(1)
      .max(MAX_CLAIMS)
      .meta({
        description: 'Claims that are recorded as pseudonyms, also within `act`.',
        default: DEFAULTS.pseudonymizedClaims,
      })
      .optional(),
  })
  .meta({ description: 'Records an HMAC of these claims instead of their values.' });

export const audit = z
  .strictObject({
    to: z
      .union(
        [
          z.enum(['stdout', 'otlp']),
          z.string().regex(/^unix:/, { error: TO_FORM }),
          fileSource('File that records are appended to. Another program may rotate it.'),
        ],
        { error: TO_FORM },
      )
      .meta({
        description:
          'Destination of the records: standard output, OpenTelemetry logs by OTLP/HTTP, a Unix socket, or a file.',
        examples: ['stdout', { file: '/var/log/cambist/audit.jsonl' }, 'unix:/run/audit.sock', 'otlp'],
      }),
    claims: z
      .array(claimName)
      .min(1)
      .max(MAX_CLAIMS)
      .meta({ description: 'Claims that identify subjects and actors.', default: DEFAULTS.auditClaims })
      .optional(),
    tools: flag('Record the MCP method and the name of the tool, prompt, resource or task.', {
      default: DEFAULTS.auditTools,
    }).optional(),
    on_full: choice(
      ['drop', 'refuse'],
      'While records cannot be written: drop and count them, or refuse requests with 503.',
      { default: DEFAULTS.auditOnFull },
    ).optional(),
    pseudonymize: pseudonymize.optional(),
  })
  .meta({ description: 'Records of who did what, one for each request and one for each exchange. Off by default.' });
