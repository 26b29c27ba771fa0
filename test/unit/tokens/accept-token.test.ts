import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CompactSign } from 'jose/jws/compact/sign';
import { jwtVerify } from 'jose/jwt/verify';
import { acceptToken } from '../../../src/tokens/accept-token.ts';
import type { TokenRequest } from '../../../src/tokens/token-request.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, jwtOf, targetOf, tokenRequestOf } from './sample.ts';

function accept(accessToken: string, fields: Partial<TokenRequest> = {}, clock = createFakeClock()) {
  const settings = { clock, maxAgeMs: () => 300_000, random: () => 0 };
  const token = { accessToken, tokenType: 'Bearer', expiresInSeconds: 100 } as const;
  return acceptToken(token, clock.monotonicMs(), tokenRequestOf(fields), settings);
}

test('accepts an opaque token and a JWT without exp', () => {
  const target = targetOf({ expectAudience: ['github'] });
  for (const token of ['opaque', jwtOf({ aud: 'github' })]) {
    assert.equal(accept(token, { target }).isForOthers, false);
  }
});

test('refuses a token that was expired on arrival, with a leeway for different clocks', () => {
  const clock = createFakeClock();
  const expiringIn = (seconds: number) => jwtOf({ exp: clock.wallMs() / 1000 + seconds });
  accept(expiringIn(-4), {}, clock);
  assert.throws(
    () => accept(expiringIn(-5), {}, clock),
    failsWith('ERR_STS_RESPONSE_INVALID', /route "github".*expired on arrival.*clocks/),
  );
});

test('refuses a token for another backend', () => {
  const target = targetOf({ expectAudience: ['github'] });
  assert.throws(
    () => accept(jwtOf({ aud: 'docs' }), { target }),
    failsWith('ERR_ISSUED_TOKEN_AUDIENCE', /route "github": the issued token is not for this backend/),
  );
});

test('refuses a JWT for another backend behind a byte order mark, which jose accepts', async () => {
  const key = new TextEncoder().encode('a key of 32 bytes, for this test.');
  const payload = new TextEncoder().encode('\ufeff{"aud":"docs"}');
  const token = await new CompactSign(payload).setProtectedHeader({ alg: 'HS256' }).sign(key);
  assert.deepEqual((await jwtVerify(token, key, { audience: 'docs' })).payload, { aud: 'docs' });
  const target = targetOf({ expectAudience: ['github'] });
  for (const expect of ['token', 'assertion'] as const) {
    assert.throws(
      () => accept(token, { target, expect }),
      failsWith('ERR_ISSUED_TOKEN_AUDIENCE', /route "github": the audience of the issued token cannot be checked/),
    );
  }
  accept(token, { target: targetOf({ expectAudience: 'any' }) });
});

test('refuses an assertion for another server', () => {
  const target = targetOf({ expectAudience: ['https://second.example.com'] });
  assert.throws(
    () => accept(jwtOf({ aud: 'docs' }), { target, expect: 'assertion' }),
    failsWith('ERR_ISSUED_TOKEN_AUDIENCE', /route "github": the assertion of its chain is for another server/),
  );
});

test('tells that a token is also valid at other audiences, but not for an assertion', () => {
  const target = targetOf({ expectAudience: ['github'] });
  const token = jwtOf({ aud: ['github', 'docs'] });
  assert.equal(accept(token, { target }).isForOthers, true);
  assert.equal(accept(token, { target, expect: 'assertion' }).isForOthers, false);
});

test('limits the lifetime by expires_in, max_age and the subject token', () => {
  const clock = createFakeClock();
  const reusableFor = (fields: Partial<TokenRequest>) =>
    accept('opaque', fields, clock).lifetime.reusableUntilMs - clock.monotonicMs();
  assert.equal(reusableFor({}), 85_000);
  assert.equal(reusableFor({ subjectExpiresAtMs: clock.wallMs() + 5000 }), 4000);
});
