import assert from 'node:assert/strict';
import { test } from 'node:test';
import { showShortAscii } from '../../../src/doctor/finding.ts';
import { type UnverifiedToken, verificationFinding } from '../../../src/doctor/verification-findings.ts';
import { NO_MATCHING_KEY } from '../../../src/tokens/subject-check.ts';
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

interface Given {
  readonly claims?: Record<string, unknown> | undefined;
  readonly header?: Record<string, unknown>;
  readonly rules?: Partial<UnverifiedToken['rules']>;
  readonly verdict?: string;
}

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
    { claims: { ...GOOD, aud: 'docs' }, rules: { audience: 'any' } },
    'verify_refused',
    /its signature is wrong/,
  ],
];
for (const [when, given, finds, says] of CASES) {
  test(`reports ${finds}: ${when}`, () => {
    const { header = { alg: 'ES256', kid: 'one' }, rules, verdict = 'its signature is wrong' } = given;
    const claims = 'claims' in given ? given.claims : GOOD;
    const token = claims === undefined ? 'opaque' : jwtOf(claims, header);
    const unverified = { rules: { ...RULES, ...rules }, token, verdict, show: showShortAscii };
    const { severity, code, what, why = '', fix = '' } = verificationFinding(unverified);
    assert.deepEqual([severity, code], ['error', finds]);
    assert.notEqual(fix, '');
    assert.match(`${what} ${why} ${fix}`, says);
  });
}
