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

interface Case {
  when: string;
  claims?: Record<string, unknown> | undefined;
  header?: Record<string, unknown>;
  rules?: Partial<UnverifiedToken['rules']>;
  finds: string[];
  says: RegExp;
}

const CASES: Case[] = [
  {
    when: 'not a JWT',
    claims: undefined,
    finds: ['verify_refused'],
    says: /is not a JWT.*remove subject_token\.verify/,
  },
  {
    when: 'another issuer',
    claims: { ...GOOD, iss: 'https://other.example.com' },
    finds: ['verify_issuer_differs'],
    says: /"https:\/\/other\.example\.com", but subject_token\.verify requires "https:\/\/idp\.example\.com".*another server/,
  },
  {
    when: 'an issuer with a trailing slash',
    claims: { ...GOOD, iss: `${ISSUER}/` },
    finds: ['verify_issuer_differs'],
    says: /trailing slash/,
  },
  {
    when: 'an issuer that is not a string',
    claims: { ...GOOD, iss: 7 },
    finds: ['verify_issuer_differs'],
    says: /issuer ""/,
  },
  {
    when: 'another audience',
    claims: { ...GOOD, aud: ['docs', 7] },
    finds: ['verify_audience_differs'],
    says: /is "docs", "7", but subject_token\.verify requires "cambist", "agents".*audience mapper/,
  },
  { when: 'no audience', claims: { iss: ISSUER }, finds: ['verify_audience_differs'], says: /is none/ },
  {
    when: 'an unknown key',
    header: { alg: 'ES256', kid: 'old' },
    finds: ['verify_key_unknown'],
    says: /with the key "old" \(ES256\), but the issuer has "one" \(ES256\), "two" \(RS256 and others\).*withdrawn/,
  },
  {
    when: 'a key of another algorithm',
    header: { alg: 'ES256', kid: 'two' },
    finds: ['verify_key_unknown'],
    says: /with the key "two" \(ES256\)/,
  },
  {
    when: 'an unnamed key',
    header: { alg: 'ES384' },
    finds: ['verify_key_unknown'],
    says: /with an unnamed key/,
  },
  {
    when: 'a shared secret',
    header: { alg: 'HS256' },
    finds: ['verify_algorithm_refused'],
    says: /"HS256".*RS256 or ES256/,
  },
  { when: 'no signature', header: { alg: 'none' }, finds: ['verify_algorithm_refused'], says: /"none"/ },
  {
    when: 'several problems',
    claims: { ...GOOD, aud: 'docs' },
    header: { alg: 'ES256', kid: 'old' },
    finds: ['verify_key_unknown', 'verify_audience_differs'],
    says: /key "old"/,
  },
  { when: 'a wrong signature', finds: ['verify_refused'], says: /its signature is wrong/ },
  {
    when: 'any audience allowed',
    claims: { ...GOOD, aud: 'docs' },
    rules: { audience: 'any' },
    finds: ['verify_refused'],
    says: /its signature is wrong/,
  },
];
for (const { when, header, rules, finds, says, ...more } of CASES) {
  test(`reports ${finds.join(', ')}: ${when}`, () => {
    const findings = findingsOn('claims' in more ? more.claims : GOOD, header, rules);
    assert.deepEqual(
      findings.map(({ code }) => code),
      finds,
    );
    for (const { severity, fix = '' } of findings) assert.ok(severity === 'error' && fix !== '');
    const [{ what, why = '', fix = '' } = assert.fail()] = findings;
    assert.match(`${what} ${why} ${fix}`, says);
  });
}
