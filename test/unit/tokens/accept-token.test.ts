import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CompactSign } from 'jose/jws/compact/sign';
import { jwtVerify } from 'jose/jwt/verify';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import { type AcceptedToken, acceptToken } from '../../../src/tokens/accept-token.ts';
import { createTokenCache } from '../../../src/tokens/cache.ts';
import { createAssertions, createOwnTokens } from '../../../src/tokens/own-tokens.ts';
import type { TokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import type { TokenRequest } from '../../../src/tokens/token-request.ts';
import { createCooldown } from '../../../src/tokens/upstream-reports.ts';
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

const SERVER = { name: 'idp' } as AuthorizationServer;
const MINUTE = 60_000;

test('reuses a token for each server and scope until it expires or is dropped', async () => {
  const clock = createFakeClock();
  const requests: TokenRequest[] = [];
  const endpoint: TokenEndpoint = {
    prepare: async () => {},
    async exchange(request) {
      requests.push(request);
      const lifetime = {
        reusableUntilMs: clock.monotonicMs() + MINUTE,
        expiresAtMs: clock.wallMs() + MINUTE,
      };
      return { accessToken: `token-${requests.length}`, lifetime, sent: [] as AcceptedToken['sent'] } as AcceptedToken;
    },
  };
  const tokens = createOwnTokens(() => endpoint, createAssertions(createTokenCache(10, clock, () => {})));
  const obtain = (scope?: string) => tokens.obtain(SERVER, scope, '_signals');
  assert.equal(await obtain('a'), 'Bearer token-1');
  assert.equal(await obtain('a'), 'Bearer token-1');
  assert.equal(await obtain(), 'Bearer token-2');
  clock.advance(MINUTE);
  assert.equal(await obtain('a'), 'Bearer token-3');
  tokens.drop(SERVER, 'a');
  assert.equal(await obtain('a'), 'Bearer token-4');
  clock.jumpWall(2 * MINUTE);
  assert.equal(await obtain('a'), 'Bearer token-5');
  const [first] = requests;
  assert.deepEqual([first?.grantKind, first?.target.scope, first?.routeName], ['client_credentials', 'a', '_signals']);
  assert.equal(first?.requester.caller, undefined);
});

const COOLDOWN_MS = 1000;

test('admits a key again after its cooldown', () => {
  const clock = createFakeClock();
  const admits = createCooldown(COOLDOWN_MS, clock);
  assert.equal(admits('a'), true);
  clock.advance(COOLDOWN_MS - 1);
  // A refused event does not extend the cooldown.
  assert.equal(admits('a'), false);
  clock.advance(1);
  assert.deepEqual([admits('a'), admits('a')], [true, false]);
});

test('keeps a cooldown for each key', () => {
  const admits = createCooldown(COOLDOWN_MS, createFakeClock());
  assert.deepEqual([admits('a'), admits('b'), admits('a'), admits('b')], [true, true, false, false]);
});

test('forgets the oldest of more than ten thousand keys', () => {
  const admits = createCooldown(COOLDOWN_MS, createFakeClock());
  for (let i = 0; i < 10_001; i += 1) assert.equal(admits(`key-${i}`), true);
  assert.deepEqual([admits('key-1'), admits('key-0')], [false, true]);
});
