import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JWTPayload } from 'jose';
import type { TokenTarget } from '../../../src/config/route.ts';
import { clockFinding, skewOf } from '../../../src/doctor/check-server.ts';
import { showShortAscii } from '../../../src/doctor/finding.ts';
import { issuedFindings } from '../../../src/doctor/issued-findings.ts';
import { unusableMetadata } from '../../../src/doctor/metadata-findings.ts';
import { type UnverifiedToken, verificationFinding } from '../../../src/doctor/verification-findings.ts';
import { NO_MATCHING_KEY } from '../../../src/tokens/subject-check.ts';
import { jwtOf } from '../tokens/sample.ts';
import { NOW_MS, response, server } from './samples.ts';

const ISSUER = 'https://idp.example.com/realms/agents';
const FIRST = 'https://idp.example.com/.well-known/oauth-authorization-server/realms/agents';
const SECOND = `${ISSUER}/.well-known/openid-configuration`;
const at = (url: string, status: number, body: unknown) => response(status, body, { method: 'GET', url });
const DOCUMENT = { issuer: ISSUER, token_endpoint: `${ISSUER}/token` };
const LOOKUP = {
  issuer: ISSUER,
  path: 'authorization_servers.main',
  endpoint: 'token_endpoint',
} as const;

const unusable = (...requests: ReturnType<typeof at>[]) => unusableMetadata(LOOKUP, requests, 'no usable metadata');

test("repeats the program's own message if no place has usable metadata", () => {
  const cases: [first: [status: number, body: unknown], code: string][] = [
    [[404, ''], 'metadata_not_found'],
    [[503, ''], 'server_unavailable'],
    [[200, '<html>'], 'metadata_unusable'],
    [[200, { issuer: ISSUER }], 'metadata_unusable'],
  ];
  for (const [[status, body], code] of cases) {
    const finding = unusable(at(FIRST, status, body), at(SECOND, 403, ''));
    assert.deepEqual([finding.code, finding.what], [code, 'no usable metadata']);
  }
  assert.match(unusable(at(FIRST, 404, '')).fix ?? '', /set authorization_servers\.main\.token_endpoint to skip/);
});

test('shows both issuers if they differ', () => {
  const other = { ...DOCUMENT, issuer: 'http://keycloak:8080/realms/agents' };
  const finding = unusable(at(FIRST, 200, other));
  assert.equal(finding.code, 'issuer_mismatch');
  assert.ok(finding.what.includes(`"${other.issuer}"`) && finding.what.includes(`"${ISSUER}"`));
  assert.match(finding.fix ?? '', /set authorization_servers\.main\.issuer to "http:\/\/keycloak:8080/);
});

test('names a trailing slash as the difference', () => {
  const finding = unusable(at(FIRST, 200, { ...DOCUMENT, issuer: `${ISSUER}/` }));
  assert.match(finding.why ?? '', /trailing slash/);
});

test('escapes control characters in an issuer', () => {
  assert.ok(unusable(at(FIRST, 200, { issuer: '\u001b[2Jx' })).what.includes('"?[2Jx"'));
});

test('fixes of a lookup for keys name the settings of subject_token.verify', () => {
  const lookup = { issuer: ISSUER, path: 'subject_token.verify', endpoint: 'jwks_uri' } as const;
  const on = (body: unknown) => unusableMetadata(lookup, [at(FIRST, 200, body)], 'its metadata names no "jwks_uri"');
  const missing = on(DOCUMENT);
  assert.equal(missing.code, 'metadata_unusable');
  assert.match(`${missing.what} ${missing.fix}`, /names no "jwks_uri" .*set subject_token\.verify\.jwks_uri to skip/);
  const other = on({ ...DOCUMENT, issuer: `${ISSUER}/` });
  assert.equal(other.code, 'issuer_mismatch');
  assert.match(other.fix ?? '', /set subject_token\.verify\.issuer to ".*\/agents\/"/);
});

const SENT = { sentAtMs: NOW_MS + 400, respondedAtMs: NOW_MS + 900 };
const dated = (offsetMs: number) => new Date(NOW_MS + offsetMs).toUTCString();

test('tolerates the second in which the response may have been written', () => {
  assert.equal(skewOf({ ...SENT, date: dated(0) }), 0);
  assert.equal(skewOf({ ...SENT, date: dated(-7000) }), -6401);
  assert.equal(skewOf({ ...SENT, date: dated(7000) }), 6100);
});

test('a slow response hides no more than its time in transit', () => {
  assert.equal(skewOf({ sentAtMs: NOW_MS, respondedAtMs: NOW_MS + 4000, date: dated(3000) }), 0);
});

test('the clock is unknown without a valid Date header', () => {
  assert.equal(skewOf({ ...SENT, date: undefined }), undefined);
  assert.equal(skewOf({ ...SENT, date: 'yesterday' }), undefined);
});

test('reports a difference of more than five seconds', () => {
  assert.equal(clockFinding(5000).code, 'clock_agrees');
  const { severity, code, what } = clockFinding(5001);
  assert.deepEqual([severity, code], ['error', 'clock_skew']);
  assert.match(what, /5 s ahead/);
  assert.match(clockFinding(-60_000).what, /60 s behind/);
});

const VERIFIED = { iss: ISSUER, aud: 'cambist' };
const RULES: UnverifiedToken['rules'] = {
  issuer: ISSUER,
  audience: ['cambist', 'agents'],
  jwksUri: undefined,
  ca: undefined,
  allowInsecureHttp: false,
};

interface Given {
  readonly claims?: Record<string, unknown> | undefined;
  readonly header?: Record<string, unknown>;
  readonly rules?: Partial<UnverifiedToken['rules']>;
  readonly verdict?: string;
}

const UNVERIFIED: readonly (readonly [when: string, given: Given, finds: string, says: RegExp])[] = [
  ['not a JWT', { claims: undefined }, 'verify_refused', /is not a JWT.*remove subject_token\.verify/],
  [
    'another issuer',
    { claims: { ...VERIFIED, iss: 'https://other.example.com' } },
    'verify_issuer_differs',
    /"https:\/\/other\.example\.com", but subject_token\.verify requires "https:.*\/agents".*another server/,
  ],
  ['a trailing slash', { claims: { ...VERIFIED, iss: `${ISSUER}/` } }, 'verify_issuer_differs', /trailing slash/],
  ['an issuer that is not a string', { claims: { ...VERIFIED, iss: 7 } }, 'verify_issuer_differs', /issuer ""/],
  [
    'another audience',
    { claims: { ...VERIFIED, aud: ['docs', 7] } },
    'verify_audience_differs',
    /is "docs", "7", but subject_token\.verify requires "cambist", "agents".*audience mapper/,
  ],
  ['no audience', { claims: { iss: ISSUER } }, 'verify_audience_differs', /^the subject token has no audience, but/],
  ['a shared secret', { header: { alg: 'HS256' } }, 'verify_algorithm_refused', /"HS256".*RS256 or ES256/],
  ['no signature', { header: { alg: 'none' } }, 'verify_algorithm_refused', /"none"/],
  [
    'an unknown key',
    { header: { alg: 'ES256', kid: 'old' }, verdict: NO_MATCHING_KEY },
    'verify_key_unknown',
    /with the key "old" \(ES256\).*withdrawn/,
  ],
  ['an unnamed key', { header: { alg: 'ES384' }, verdict: NO_MATCHING_KEY }, 'verify_key_unknown', /an unnamed key/],
  ['a wrong signature', {}, 'verify_refused', /its signature is wrong/],
  [
    'any audience allowed',
    { claims: { ...VERIFIED, aud: 'docs' }, rules: { audience: 'any' } },
    'verify_refused',
    /its signature is wrong/,
  ],
];
for (const [when, given, finds, says] of UNVERIFIED) {
  test(`reports ${finds}: ${when}`, () => {
    const { header = { alg: 'ES256', kid: 'one' }, rules, verdict = 'its signature is wrong' } = given;
    const claims = 'claims' in given ? given.claims : VERIFIED;
    const token = claims === undefined ? 'opaque' : jwtOf(claims, header);
    const unverified = { rules: { ...RULES, ...rules }, token, verdict, show: showShortAscii };
    const { severity, code, what, why = '', fix = '' } = verificationFinding(unverified);
    assert.deepEqual([severity, code], ['error', finds]);
    assert.notEqual(fix, '');
    assert.match(`${what} ${why} ${fix}`, says);
  });
}

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
const FOR_CLIENT = { ...GOOD, aud: ['cambist'] };
const DOCS = { ...GOOD, aud: ['docs'] };
const ONLY = { expectAudience: { only: ['backend'] } };
const ANY = { expectAudience: 'any' } as const;
const ACTING = { actor_token: 'x' };
const SOON = { exp: NOW_SECONDS + 20 };
const DEEP = JSON.parse('['.repeat(10_000) + ']'.repeat(10_000));
const SCOPES = { target: { scope: 'repo:read repo:write' }, body: { scope: 'repo:read' } };
const DEFAULT_SCOPE = { target: { scope: 'api://b/.default' }, body: { scope: 'api://b/x' } };

const ISSUED: readonly (readonly [when: string, given: Issued, finds?: string, fix?: RegExp])[] = [
  ['a token for the backend only', {}],
  ['one of several audiences', { claims: BROAD }, 'audience_broad'],
  ['an audience that expect_audience.only excludes', { claims: BROAD, target: ONLY }, 'audience_not_only', /alone/],
  ['the only expected audience', { target: ONLY }],
  ['another audience than the only one', { claims: DOCS, target: ONLY }, 'audience_wrong'],
  ['another backend', { claims: DOCS }, 'audience_wrong', /expect_audience/],
  ['no aud at all', { claims: { exp: NOW_SECONDS + 300 } }, 'audience_wrong', /audience mapper/],
  ['Spring: the token is for the client', { claims: FOR_CLIENT }, 'token_for_client', /OAuth2TokenCustomizer/],
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
const TARGET = { resource: [], audience: ['backend'], scope: undefined, requestedTokenType: undefined };

/** The findings on a token for the backend, with these differences. */
function findingsOn({ body = {}, subject, sent, repeated, ambiguous = false, ...more }: Issued) {
  return issuedFindings({
    server: server(),
    target: { ...TARGET, expectAudience: ['backend'], ...more.target },
    request: response(200, { expires_in: 300, ...body }, { form: new URLSearchParams(sent) }),
    claims: 'claims' in more ? more.claims : GOOD,
    ambiguous,
    subject,
    repeated,
    show: showShortAscii,
  });
}

for (const [when, given, finds, fix] of ISSUED) {
  test(`reports ${finds ?? 'no problem'}: ${when}`, () => {
    const wrong = findingsOn(given).filter(({ severity }) => severity !== 'ok');
    assert.equal(wrong.map(({ code }) => code).join(), finds ?? '');
    if (fix !== undefined) assert.match(wrong[0]?.fix ?? '', fix);
  });
}

test('shows the claims of the token and its client, but none of the user', () => {
  const act = { sub: 'agent', email: 'agent@example.com', act: { sub: 'first', name: 'Bob' } };
  const claims = { ...GOOD, sub: 'alice', name: 'Alice', email: 'alice@example.com', azp: 'cambist', act };
  const shown = findingsOn({ claims }).flatMap((finding) => (finding.claims ? [[finding.code, finding.claims]] : []));
  const actors = { sub: 'agent', act: { sub: 'first' } };
  assert.deepEqual(shown, [['token_issued', { ...GOOD, azp: 'cambist', act: actors }]]);
});
