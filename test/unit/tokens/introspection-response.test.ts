import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { SubjectVerification } from '../../../src/config/verification.ts';
import { CambistError } from '../../../src/errors.ts';
import { processIntrospection } from '../../../src/tokens/introspection.ts';
import { failsWith } from './sample.ts';

const NOW_MS = 1_700_000_000_000;
const NOW = NOW_MS / 1000;
const RULES: SubjectVerification = {
  issuer: 'https://idp.example.com',
  audience: ['cambist'],
  jwksUri: undefined,
  ca: undefined,
  allowInsecureHttp: false,
};

function process(body: unknown, status = 200, rules = RULES) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return processIntrospection({ status, retryAfter: undefined, text }, 'idp', rules, NOW_MS);
}

test('accepts an active token, and returns its claims with the issuer', () => {
  const { claims, expiresAtMs } = process({ active: true, sub: 'alice', aud: ['x', 'cambist'], exp: NOW + 60 });
  assert.deepEqual(claims, { active: true, sub: 'alice', aud: ['x', 'cambist'], exp: NOW + 60, iss: RULES.issuer });
  assert.equal(expiresAtMs, NOW_MS + 60_000);
});

test('accepts a token without exp and aud where any audience counts', () => {
  assert.equal(process({ active: true }, 200, { ...RULES, audience: 'any' }).expiresAtMs, undefined);
});

const refusals: [what: string, body: Record<string, unknown>, message: RegExp][] = [
  ['inactive', { active: false }, /not active/],
  ['of another issuer', { active: true, iss: 'https://evil.example.com', aud: 'cambist' }, /another issuer/],
  ['with an issuer that is not a text', { active: true, iss: null, aud: 'cambist' }, /another issuer/],
  ['for another audience', { active: true, aud: 'other' }, /another audience/],
  ['without an audience', { active: true }, /another audience/],
  ['bound to a key', { active: true, aud: 'cambist', cnf: { jkt: 'x' } }, /bound/],
  ['bound to a certificate', { active: true, aud: 'cambist', cnf: { 'x5t#S256': 'x' } }, /bound/],
  ['not valid yet', { active: true, aud: 'cambist', nbf: NOW + 6 }, /not valid yet/],
];
for (const [what, body, message] of refusals) {
  test(`refuses a token that is ${what}`, () => {
    assert.throws(() => process(body), failsWith('ERR_SUBJECT_TOKEN_INVALID', message));
  });
}

test('tells the caller that a token is expired', () => {
  const expired = (error: unknown) => error instanceof CambistError && error.expired;
  assert.throws(() => process({ active: true, aud: 'cambist', exp: NOW - 5 }), expired);
  assert.ok(process({ active: true, aud: 'cambist', exp: NOW - 4 }));
});

const faults: [
  status: number,
  body: unknown,
  code: 'ERR_STS_UNAVAILABLE' | 'ERR_CLIENT_REFUSED' | 'ERR_STS_RESPONSE_INVALID',
][] = [
  [500, '', 'ERR_STS_UNAVAILABLE'],
  [429, { active: true }, 'ERR_STS_UNAVAILABLE'],
  [401, '', 'ERR_CLIENT_REFUSED'],
  [403, '', 'ERR_CLIENT_REFUSED'],
  [400, { error: 'invalid_request' }, 'ERR_CLIENT_REFUSED'],
  [404, '', 'ERR_STS_RESPONSE_INVALID'],
  [302, '', 'ERR_STS_RESPONSE_INVALID'],
  [200, '<html></html>', 'ERR_STS_RESPONSE_INVALID'],
  [200, [], 'ERR_STS_RESPONSE_INVALID'],
  [200, {}, 'ERR_STS_RESPONSE_INVALID'],
  [200, { active: 'true' }, 'ERR_STS_RESPONSE_INVALID'],
  [200, { active: true, aud: 'cambist', exp: 'never' }, 'ERR_STS_RESPONSE_INVALID'],
  [200, { active: true, aud: 'cambist', pad: 'x'.repeat(64 * 1024) }, 'ERR_STS_RESPONSE_INVALID'],
];
for (const [status, body, code] of faults) {
  test(`takes status ${status} with ${JSON.stringify(body).slice(0, 50)} for ${code}`, () => {
    assert.throws(() => process(body, status), failsWith(code));
  });
}

test('accepts nothing but an active token of the issuer for the audience, whatever the response says', () => {
  const claim = fc.oneof(fc.jsonValue(), fc.constantFrom('cambist', RULES.issuer, NOW + 60, true));
  const body = fc.record(
    { active: claim, iss: claim, aud: claim, exp: claim, nbf: claim, cnf: claim },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(body, (written) => {
      try {
        const { claims } = process(written);
        assert.equal(claims.active, true);
        assert.equal(claims.iss, RULES.issuer);
        assert.ok([claims.aud].flat().includes('cambist'));
      } catch (error) {
        assert.ok(error instanceof CambistError, String(error));
      }
    }),
  );
});
