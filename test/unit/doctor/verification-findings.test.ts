import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JWTPayload } from 'jose';
import { showShortAscii } from '../../../src/doctor/finding.ts';
import { type UnverifiedToken, verificationFindings } from '../../../src/doctor/verification-findings.ts';
import { jwtOf } from '../tokens/sample.ts';

const ISSUER = 'https://idp.example.com';
const GOOD = { iss: ISSUER, aud: 'cambist' };
const RULES: UnverifiedToken['rules'] = {
  issuer: ISSUER,
  audience: ['cambist', 'agents'],
  jwksUri: undefined,
  ca: undefined,
  allowInsecureHttp: false,
};

const findingsOn = (
  claims: Record<string, unknown> | undefined,
  header: Record<string, unknown> = { alg: 'ES256', kid: 'one' },
  rules: Partial<UnverifiedToken['rules']> = {},
) =>
  verificationFindings({
    rules: { ...RULES, ...rules },
    token: jwtOf(claims ?? {}, header),
    claims: claims as JWTPayload | undefined,
    keys: [
      { name: 'one', algorithms: ['ES256'] },
      { name: 'two', algorithms: ['RS256', 'PS256'] },
    ],
    verdict: 'its signature is wrong',
    show: showShortAscii,
  });

interface Given {
  readonly claims?: Record<string, unknown> | undefined;
  readonly header?: Record<string, unknown>;
  readonly rules?: Partial<UnverifiedToken['rules']>;
}

const OLD_KEY = { alg: 'ES256', kid: 'old' };

const CASES: readonly (readonly [when: string, given: Given, finds: string, says: RegExp])[] = [
  ['not a JWT', { claims: undefined }, 'verify_refused', /is not a JWT.*remove subject_token\.verify/],
  [
    'another issuer',
    { claims: { ...GOOD, iss: 'https://other.example.com' } },
    'verify_issuer_differs',
    /"https:\/\/other\.example\.com", but subject_token\.verify requires "https:\/\/idp\.example\.com".*another server/,
  ],
  ['a trailing slash', { claims: { ...GOOD, iss: `${ISSUER}/` } }, 'verify_issuer_differs', /trailing slash/],
  ['an issuer that is not a string', { claims: { ...GOOD, iss: 7 } }, 'verify_issuer_differs', /issuer ""/],
  [
    'another audience',
    { claims: { ...GOOD, aud: ['docs', 7] } },
    'verify_audience_differs',
    /is "docs", "7", but subject_token\.verify requires "cambist", "agents".*audience mapper/,
  ],
  ['no audience', { claims: { iss: ISSUER } }, 'verify_audience_differs', /is none/],
  [
    'an unknown key',
    { header: OLD_KEY },
    'verify_key_unknown',
    /with the key "old" \(ES256\), but the issuer has "one" \(ES256\), "two" \(RS256 and others\).*withdrawn/,
  ],
  [
    'a key of another algorithm',
    { header: { alg: 'ES256', kid: 'two' } },
    'verify_key_unknown',
    /with the key "two" \(ES256\)/,
  ],
  ['an unnamed key', { header: { alg: 'ES384' } }, 'verify_key_unknown', /with an unnamed key/],
  ['a shared secret', { header: { alg: 'HS256' } }, 'verify_algorithm_refused', /"HS256".*RS256 or ES256/],
  ['no signature', { header: { alg: 'none' } }, 'verify_algorithm_refused', /"none"/],
  [
    'several problems',
    { claims: { ...GOOD, aud: 'docs' }, header: OLD_KEY },
    'verify_key_unknown, verify_audience_differs',
    /key "old"/,
  ],
  ['a wrong signature', {}, 'verify_refused', /its signature is wrong/],
  [
    'any audience allowed',
    { claims: { ...GOOD, aud: 'docs' }, rules: { audience: 'any' } },
    'verify_refused',
    /its signature is wrong/,
  ],
];
for (const [when, given, finds, says] of CASES) {
  test(`reports ${finds}: ${when}`, () => {
    const findings = findingsOn('claims' in given ? given.claims : GOOD, given.header, given.rules);
    assert.equal(findings.map(({ code }) => code).join(', '), finds);
    for (const { severity, fix = '' } of findings) assert.ok(severity === 'error' && fix !== '');
    const [{ what, why = '', fix = '' } = assert.fail()] = findings;
    assert.match(`${what} ${why} ${fix}`, says);
  });
}
