import * as z from 'zod';
import type { ConfigNode } from '../documents/config-node.ts';
import { MIN_KEY_LENGTH } from '../secrets/credential.ts';
import { type About, optionalSection, required, type Scope, type ValueOf, valueKey } from './key.ts';
import { choice, credentialSource, distinct, fileSource, flag } from './kinds.ts';

const MAX_CLAIMS = 32;

/** A claim is named by any text in a token; these are the names that issuers use. */
const claimName = z.string().regex(/^[\x21-\x7e]{1,128}$/, {
  error: 'must be the name of a claim: at most 128 printable ASCII characters, without spaces',
});

function claims<const Rules extends About>(description: string, rules: Rules) {
  return valueKey(z.array(claimName).min(1).max(MAX_CLAIMS), 'list of claims', description, rules, distinct);
}

const TO_FORM = 'must be stdout, otlp, or { file: /path/of/file }';

const destination = z.union(
  [z.enum(['stdout', 'otlp']), fileSource('File that records are appended to. Another program may rotate it.').schema],
  { error: TO_FORM },
);

function readDestination(
  written: 'stdout' | 'otlp' | { readonly file?: string | undefined },
  node: ConfigNode,
  { sources }: Scope,
) {
  if (typeof written === 'string') return { kind: written };
  if (written.file === undefined) return undefined;
  return { kind: 'file' as const, path: sources.output(written.file, node.at('file')) };
}

const pseudonymize = optionalSection('Records an HMAC of these claims instead of their values.', {
  key: required(
    credentialSource(
      'Key of the HMAC, at least 32 characters. The same key gives the same pseudonym for the same value.',
      { page: 'audit.md#pseudonyms' },
      MIN_KEY_LENGTH,
    ),
  ),
  claims: claims('Claims that are recorded as pseudonyms, also within `act`.', {
    default: ['sub', 'email', 'preferred_username'],
  }),
});

export const audit = optionalSection(
  'Records of who did what, one for each request and one for each exchange. Off by default.',
  {
    to: required(
      valueKey(
        destination,
        '`stdout`, `otlp`, or `{ file }`',
        'Destination of the records: standard output, OpenTelemetry logs by OTLP/HTTP, or a file.',
        { examples: ['stdout', { file: '/var/log/cambist/audit.jsonl' }, 'otlp'], page: 'audit.md' },
        readDestination,
      ),
    ),
    claims: claims('Claims that identify subjects and actors.', {
      default: ['iss', 'sub', 'azp', 'client_id', 'act'],
      page: 'audit.md#claims',
    }),
    tools: flag('Record the MCP method and the name of the tool, prompt, resource or task.', {
      default: true,
      page: 'audit.md#tools',
    }),
    on_full: choice(
      ['drop', 'refuse'],
      'While records cannot be written: drop and count them, or refuse requests with 503.',
      { default: 'drop', page: 'audit.md#when-records-cannot-be-written' },
    ),
    pseudonymize,
  },
  {
    restart: 'change',
    check({ claims: recorded = [], pseudonymize: hidden }, { node }) {
      if (hidden === undefined || hidden.claims.some((claim) => recorded.includes(claim))) return;
      node.at('pseudonymize').warn('has no effect: audit.claims records none of these claims', 'key');
    },
  },
);

export type Audit = NonNullable<ValueOf<typeof audit>>;
