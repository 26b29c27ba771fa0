import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JWTPayload } from 'jose';
import type { TokenTarget } from '../../../src/config/route.ts';
import { showShortAscii } from '../../../src/doctor/finding.ts';
import { issuedFindings } from '../../../src/doctor/issued-findings.ts';
import { NOW_MS, response, server, target } from './samples.ts';

const NOW_SECONDS = NOW_MS / 1000;
const GOOD: JWTPayload = { aud: 'backend', iat: NOW_SECONDS, exp: NOW_SECONDS + 300 };

interface Issued {
  claims?: JWTPayload | undefined;
  ambiguous?: boolean;
  target?: Partial<TokenTarget>;
  body?: Record<string, unknown>;
  subject?: JWTPayload;
  sent?: Record<string, string>;
  repeated?: string;
}

const BROAD = { ...GOOD, aud: ['backend', 'account'] };
const DOCS = { ...GOOD, aud: ['docs'] };
const ONLY = { expectAudience: { only: ['backend'] } };
const ANY = { expectAudience: 'any' } as const;
const ACTING = { actor_token: 'x' };
const SOON = { exp: NOW_SECONDS + 20 };
const DEEP = JSON.parse('['.repeat(10_000) + ']'.repeat(10_000));
const SCOPES = { target: { scope: 'repo:read repo:write' }, body: { scope: 'repo:read' } };
const DEFAULT_SCOPE = { target: { scope: 'api://b/.default' }, body: { scope: 'api://b/x' } };

const CASES: readonly (readonly [when: string, given: Issued, finds?: string, fix?: RegExp])[] = [
  ['a token for the backend only', {}],
  ['one of several audiences', { claims: BROAD }, 'audience_broad'],
  ['an audience that expect_audience.only excludes', { claims: BROAD, target: ONLY }, 'audience_not_only', /alone/],
  ['the only expected audience', { target: ONLY }],
  ['another audience than the only one', { claims: DOCS, target: ONLY }, 'audience_wrong'],
  ['another backend', { claims: DOCS }, 'audience_wrong', /expect_audience/],
  ['no aud at all', { claims: { exp: NOW_SECONDS + 300 } }, 'audience_wrong', /audience mapper/],
  [
    'Spring: the token is for the client',
    { claims: { ...GOOD, aud: ['cambist'] } },
    'token_for_client',
    /OAuth2TokenCustomizer/,
  ],
  ['expect_audience is any', { target: ANY }, 'audience_not_checked'],
  ['an opaque token', { claims: undefined }, 'token_opaque', /requested_token_type: jwt/],
  ['claims that parsers read differently', { ambiguous: true }, 'token_ambiguous', /byte order mark/],
  ['such claims where expect_audience is any', { ambiguous: true, target: ANY }, 'audience_not_checked'],
  ["the caller's own token", { repeated: 'subject_token' }, 'token_unchanged'],
  ['the client secret', { repeated: 'client_secret' }, 'token_unchanged', /enable token exchange/],
  ['a token of the future', { claims: { ...GOOD, nbf: NOW_SECONDS + 60 } }, 'token_not_yet_valid'],
  ['an expired token', { claims: { ...GOOD, exp: NOW_SECONDS - 60 } }, 'token_expired', /NTP/],
  ['a lifetime of seconds', { body: { expires_in: '10' } }, 'lifetime_short'],
  ['an unknown lifetime', { claims: { aud: 'backend' }, body: { expires_in: undefined } }, 'lifetime_unknown'],
  ["a lifetime beyond the subject token's", { subject: { exp: NOW_SECONDS + 60 } }],
  ['a short lifetime that the subject token caps', { claims: { ...GOOD, ...SOON }, subject: SOON }],
  ['an actor that the token does not name', { sent: ACTING }, 'actor_missing'],
  ['an actor that nests too deeply to be read', { sent: ACTING, claims: { ...GOOD, act: DEEP } }],
  ['an actor that the token names', { sent: ACTING, claims: { ...GOOD, act: { sub: 'w' } } }],
  ['less scope than requested', SCOPES, 'scope_reduced'],
  ["Entra's .default scope", DEFAULT_SCOPE],
];
for (const [when, { body = {}, subject, sent, repeated, ambiguous = false, ...more }, finds, fix] of CASES) {
  test(`reports ${finds ?? 'no problem'}: ${when}`, () => {
    const findings = issuedFindings({
      server: server(),
      target: target(more.target),
      request: response(200, { expires_in: 300, ...body }, { form: new URLSearchParams(sent) }),
      claims: 'claims' in more ? more.claims : GOOD,
      ambiguous,
      subject,
      repeated,
      show: showShortAscii,
    });
    const wrong = findings.filter(({ severity }) => severity !== 'ok');
    assert.deepEqual(
      wrong.map(({ code }) => code),
      finds === undefined ? [] : [finds],
    );
    if (fix !== undefined) assert.match(wrong[0]?.fix ?? '', fix);
  });
}

test('shows the claims of the token and its client, but none of the user', () => {
  const findings = issuedFindings({
    server: server(),
    target: target(),
    request: response(200, {}),
    ambiguous: false,
    claims: {
      ...GOOD,
      sub: 'alice',
      name: 'Alice',
      email: 'alice@example.com',
      azp: 'cambist',
      act: { sub: 'agent', email: 'agent@example.com', act: { sub: 'first', name: 'Bob' } },
    },
    subject: undefined,
    repeated: undefined,
    show: showShortAscii,
  });
  assert.deepEqual(
    findings.filter(({ claims }) => claims !== undefined).map(({ code, claims }) => [code, claims]),
    [['token_issued', { ...GOOD, azp: 'cambist', act: { sub: 'agent', act: { sub: 'first' } } }]],
  );
});
