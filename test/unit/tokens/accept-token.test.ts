import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CompactSign } from 'jose/jws/compact/sign';
import { jwtVerify } from 'jose/jwt/verify';
import type { AuthorizationServer } from '../../../src/config/authorization-server.ts';
import type { ExpectedAudience } from '../../../src/config/targets.ts';
import { type AcceptedToken, acceptToken } from '../../../src/tokens/accept-token.ts';
import { checkAudience, grantedBy, isForOthers } from '../../../src/tokens/audience.ts';
import { createTokenCache } from '../../../src/tokens/cache.ts';
import { createAssertions, createOwnTokens } from '../../../src/tokens/own-tokens.ts';
import type { TokenEndpoint } from '../../../src/tokens/token-endpoint.ts';
import type { TokenRequest } from '../../../src/tokens/token-request.ts';
import type { Claims } from '../../../src/tokens/token-text.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { keptBytesEach, longText } from '../../harness/heap.ts';
import { failsWith, jwtOf, targetOf, tokenRequestOf } from './sample.ts';

function accept(accessToken: string, fields: Partial<TokenRequest> = {}, clock = createFakeClock()) {
  const settings = { clock, maxAgeMs: () => 300_000, random: () => 0 };
  const token = { accessToken, tokenType: 'Bearer', expiresInSeconds: 100 } as const;
  return acceptToken(token, clock.monotonicMs(), tokenRequestOf(fields), settings);
}

test('refuses a token that was expired on arrival, with a leeway for different clocks', () => {
  const clock = createFakeClock();
  const expiringIn = (seconds: number) => jwtOf({ exp: clock.wallMs() / 1000 + seconds });
  accept(expiringIn(-4), {}, clock);
  assert.throws(
    () => accept(expiringIn(-5), {}, clock),
    failsWith('ERR_STS_RESPONSE_INVALID', /route "github".*expired on arrival.*clocks/),
  );
});

test('refuses a token for another backend, and an assertion for another server', () => {
  const target = targetOf({ expectAudience: ['github'] });
  for (const [expect, message] of [
    ['token', /route "github": the issued token is not for this backend/],
    ['assertion', /route "github": the assertion of its chain is for another server/],
  ] as const) {
    const run = () => accept(jwtOf({ aud: 'docs' }), { target, expect });
    assert.throws(run, failsWith('ERR_ISSUED_TOKEN_AUDIENCE', message));
  }
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

test('tells that a token is also valid at other audiences, but not for an assertion', () => {
  const target = targetOf({ expectAudience: ['github'] });
  const token = jwtOf({ aud: ['github', 'docs'] });
  assert.equal(accept(token, { target }).isForOthers, true);
  assert.equal(accept(token, { target, expect: 'assertion' }).isForOthers, false);
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

/** Claims of a token that is not a JWT. */
const OPAQUE: Claims = undefined;
const GITHUB = 'https://github.example.com/mcp';
const ONLY = { only: [GITHUB, 'github'] };

const accepted: [what: string, claims: Claims, expected: ExpectedAudience][] = [
  ['the expected aud', { aud: GITHUB }, [GITHUB]],
  ['several auds, one of them expected', { aud: ['x', GITHUB] }, [GITHUB]],
  ['one of several expected auds', { aud: 'github' }, [GITHUB, 'github']],
  ['another aud, where the check is off', { aud: 'docs' }, 'any'],
  ['the only accepted aud', { aud: GITHUB }, { only: [GITHUB] }],
  ['some of the only accepted auds', { aud: ['github'] }, ONLY],
  ['all of the only accepted auds', { aud: ['github', GITHUB] }, ONLY],
];
for (const [what, claims, expected] of accepted) {
  test(`accepts a token with ${what}`, () => checkAudience(claims, expected, 'github'));
}

test('accepts an opaque token, which cannot be checked', () => {
  for (const expected of [[GITHUB], ONLY, 'any'] as const) checkAudience(OPAQUE, expected, 'github');
});

const refuses = (claims: Record<string, unknown>, expected: ExpectedAudience, message: RegExp) =>
  assert.throws(() => checkAudience(claims, expected, 'github'), failsWith('ERR_ISSUED_TOKEN_AUDIENCE', message));

const wrong: [what: string, claims: Record<string, unknown>][] = [
  ['another aud', { aud: 'docs' }],
  ['several auds, none of them expected', { aud: ['docs', 'cambist'] }],
  ['no aud', {}],
  ['an empty list', { aud: [] }],
  ['an aud that begins like the expected one', { aud: `${GITHUB}x` }],
  ['an aud that is not text', { aud: [[GITHUB], 1, null, { [GITHUB]: true }] }],
];
for (const [what, claims] of wrong) {
  test(`refuses a token with ${what}`, () => {
    refuses(claims, [GITHUB], /route "github".*contains none of.*expect_audience/);
    refuses(claims, ONLY, /route "github".*nothing but.*expect_audience\.only/);
  });
}

test('expect_audience.only refuses a token with a further aud', () => {
  for (const further of ['docs', 1, null, [GITHUB]]) {
    for (const aud of [
      [GITHUB, further],
      [further, GITHUB],
    ])
      refuses({ aud }, ONLY, /not for this backend alone/);
  }
});

test('tells whether a token is also valid at other audiences', () => {
  const cases: [Claims, ExpectedAudience, boolean][] = [
    [{ aud: GITHUB }, [GITHUB], false],
    [{ aud: [GITHUB, 'github'] }, [GITHUB, 'github'], false],
    [{ aud: [GITHUB, 'docs'] }, [GITHUB], true],
    [{ aud: [GITHUB, 'docs'] }, 'any', false],
    [{ aud: [GITHUB] }, ONLY, false],
    [OPAQUE, [GITHUB], false],
  ];
  for (const [claims, expected, others] of cases) assert.equal(isForOthers(claims, expected), others);
});

const JWT = 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.c2ln';

test('reads audience and scope as servers write them', () => {
  const cases: [Claims, scope: string | undefined, ReturnType<typeof grantedBy>][] = [
    [{ aud: 'github', scope: 'repo user' }, 'other', { audience: ['github'], scope: 'repo user' }],
    [{ aud: ['a', 'b'], scp: ['x', 'y'] }, undefined, { audience: ['a', 'b'], scope: 'x y' }],
    [undefined, 'repo', { audience: [], scope: 'repo' }],
    [undefined, undefined, { audience: [], scope: undefined }],
  ];
  for (const [claims, scope, granted] of cases) assert.deepEqual(grantedBy(claims, scope), granted);
});

test('leaves out names that look like tokens', () => {
  assert.deepEqual(grantedBy({ aud: ['github', JWT, `x ${JWT}`], scope: `repo ${JWT}` }, undefined), {
    audience: ['github'],
    scope: undefined,
  });
  assert.deepEqual(grantedBy(undefined, JWT), { audience: [], scope: undefined });
  assert.deepEqual(grantedBy({ aud: `cbh_${'x'.repeat(43)}` }, undefined), { audience: [], scope: undefined });
});

test('gives the same object for equal names, and remembers none that look like tokens', () => {
  assert.equal(grantedBy({ aud: 'github', iat: 1 }, undefined), grantedBy({ aud: 'github', iat: 2 }, undefined));
  assert.notEqual(grantedBy({ aud: JWT }, undefined), grantedBy({ aud: JWT }, undefined));
});

test('shows at most 16 audiences', () => {
  const aud = Array.from({ length: 17 }, (_, index) => `backend-${index}`);
  assert.deepEqual(grantedBy({ aud }, undefined).audience, aud.slice(0, 16));
});

test('does not mix up names with those of the previous token', () => {
  const stated: [aud: string | string[] | undefined, scope: string | undefined][] = [
    ['github', 'repo'],
    ['github', 'user'],
    ['gitlab', 'user'],
    [['gitlab', 'github'], 'user'],
    ['gitlab', undefined],
    [undefined, undefined],
    [undefined, 'user'],
  ];
  for (const [aud, scope] of [...stated, ...stated.toReversed()]) {
    const claims = aud === undefined ? undefined : { aud };
    assert.deepEqual(grantedBy(claims, scope), { audience: aud === undefined ? [] : [aud].flat(), scope });
  }
});

test('reads names beside lists that nest thousands of levels deep', () => {
  const deep: unknown = JSON.parse('['.repeat(12_000) + ']'.repeat(12_000));
  const aud = ['github', deep] as string[];
  assert.deepEqual(grantedBy({ aud, scope: 'repo' }, undefined), { audience: ['github'], scope: 'repo' });
});

test('keeps nothing of long names but what it shows', () => {
  const bytesEach = keptBytesEach((i) => grantedBy({ aud: [longText(i), longText(i)] }, longText(i)));
  assert.ok(bytesEach < 20_000, `${bytesEach} bytes each`);
});

test('stays short and never throws, whatever the claims are', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom('aud', 'scope', 'scp'), fc.jsonValue()), fc.string(), (claims, more) => {
      const { audience, scope = '' } = grantedBy(claims, more.repeat(1000));
      assert.ok(audience.length <= 16);
      for (const name of audience) assert.ok(typeof name === 'string' && name.length <= 256);
      assert.ok(scope.length <= 1024);
    }),
  );
});
