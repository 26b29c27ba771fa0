import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JWTPayload } from 'jose';
import { type UnverifiedToken, verificationFindings } from '../../../src/doctor/verification.ts';
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
  { when: 'no JWT', claims: undefined, finds: ['verify_refused'], says: /is no JWT.*remove subject_token\.verify/ },
  {
    when: 'another issuer',
    claims: { ...GOOD, iss: 'https://other.example.com' },
    finds: ['verify_issuer_differs'],
    says: /"https:\/\/other\.example\.com", and subject_token\.verify wants "https:\/\/idp\.example\.com".*another server/,
  },
  {
    when: 'an issuer with a slash at its end',
    claims: { ...GOOD, iss: `${ISSUER}/` },
    finds: ['verify_issuer_differs'],
    says: /slash at the end/,
  },
  {
    when: 'an issuer that is no string',
    claims: { ...GOOD, iss: 7 },
    finds: ['verify_issuer_differs'],
    says: /issuer ""/,
  },
  {
    when: 'another audience',
    claims: { ...GOOD, aud: ['docs', 7] },
    finds: ['verify_audience_differs'],
    says: /is for "docs", "7", and subject_token\.verify wants "cambist", "agents".*audience mapper/,
  },
  { when: 'no audience', claims: { iss: ISSUER }, finds: ['verify_audience_differs'], says: /is for none/ },
  {
    when: 'a key that is not there',
    header: { alg: 'ES256', kid: 'old' },
    finds: ['verify_key_unknown'],
    says: /by a key "old" \(ES256\), and the issuer has "one" \(ES256\), "two" \(RS256 and others\).*withdrawn/,
  },
  {
    when: 'a key that is for another algorithm',
    header: { alg: 'ES256', kid: 'two' },
    finds: ['verify_key_unknown'],
    says: /by a key "two" \(ES256\)/,
  },
  {
    when: 'a key without a name',
    header: { alg: 'ES384' },
    finds: ['verify_key_unknown'],
    says: /by a key without a name/,
  },
  {
    when: 'a shared secret',
    header: { alg: 'HS256' },
    finds: ['verify_algorithm_refused'],
    says: /"HS256".*RS256 or ES256/,
  },
  { when: 'no signature', header: { alg: 'none' }, finds: ['verify_algorithm_refused'], says: /"none"/ },
  {
    when: 'several faults',
    claims: { ...GOOD, aud: 'docs' },
    header: { alg: 'ES256', kid: 'old' },
    finds: ['verify_key_unknown', 'verify_audience_differs'],
    says: /key "old"/,
  },
  { when: 'a wrong signature', finds: ['verify_refused'], says: /its signature is wrong/ },
  {
    when: 'whatever audience is wanted',
    claims: { ...GOOD, aud: 'docs' },
    rules: { audience: 'any' },
    finds: ['verify_refused'],
    says: /its signature is wrong/,
  },
];
for (const { when, header, rules, finds, says, ...more } of CASES) {
  test(`a subject token with ${when}: ${finds.join(', ')}`, () => {
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
