import { optional, required, section, type ValueOf, valueKey } from './key.ts';
import { headerName, oneOrManySchema, scopes, text, tokenFile, tokenType } from './kinds.ts';
import { readAudiences } from './targets.ts';
import { introspection, jwksUri, type VerifyKeys } from './verification.ts';

const verify = section('Check of the subject token before any exchange: signature, `iss`, `aud` and `exp`.', {
  issuer: required(text('Expected `iss`.', { form: 'URL', page: 'tokens.md#verification' })),
  audience: valueKey(
    oneOrManySchema,
    'text, list or `any`',
    'The `aud` must contain one of these. By default, the `client_id` at the authorization server. `any` turns the check off.',
    { without: 'the `client_id`' },
    readAudiences,
  ),
  jwks_uri: jwksUri,
  introspection: optional(introspection),
});

export const DEFAULT_SUBJECT_HEADER = 'authorization';

export const subjectToken = optional(
  section(
    'Source of the caller’s token.',
    {
      header: headerName(
        'Header with the caller’s token, with or without `Bearer `. Only `passthrough` routes forward it.',
        { default: DEFAULT_SUBJECT_HEADER },
      ),
      // The default depends on the credential of the route.
      type: optional(
        tokenType(
          'Sent as `subject_token_type`: a short name or a full URN. In a chain by ID-JAG, the default is `id_token`.',
          { default: 'access_token' },
        ),
      ),
      file: tokenFile('File with a token instead of a header, for work that has no caller.', {
        page: 'tokens.md#subject-tokens',
      }),
      scope: scopes(
        'Scopes that a caller’s token should have, separated by spaces. Named in 401 responses and in the metadata of the resource. Not checked.',
        { examples: ['api://cambist/.default'], page: 'routing.md#metadata-for-clients' },
      ),
      verify: optional(verify),
    },
    {
      check(_values, { node }, { header, file, scope }) {
        if (header !== undefined && file !== undefined) {
          node.error(
            'has both "header" and "file": keep "header" for the caller\'s token, or "file" for cambist\'s own',
          );
        }
        if (scope !== undefined && file !== undefined) {
          node
            .at('scope')
            .warn('has no effect with "file": remove it, because the callers of this route need no token', 'key');
        }
        // MCP 2026-07-28, Authorization, "Refresh Tokens": no resource needs it.
        if (scope?.split(/\s+/).includes('offline_access') === true) {
          node
            .at('scope')
            .warn(
              'tells clients to request "offline_access": remove it, because clients that want a refresh token add it themselves',
            );
        }
      },
    },
  ),
);

type WrittenSubject = NonNullable<ValueOf<typeof subjectToken>>;

/** The keys of `subject_token`. Defaults for the others depend on the route. */
export interface SubjectKeys extends Omit<WrittenSubject, 'verify'> {
  readonly verify: (VerifyKeys & Pick<NonNullable<WrittenSubject['verify']>, 'audience'>) | undefined;
}
