import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ExpectedAudience } from '../../../src/config/expect-audience.ts';
import { checkAudience, isForOthers } from '../../../src/tokens/audience.ts';
import type { Claims } from '../../../src/tokens/claims.ts';
import { failsWith } from './sample.ts';

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
  ['the only accepted aud as a list', { aud: [GITHUB] }, { only: [GITHUB] }],
  ['some of the only accepted auds', { aud: ['github'] }, ONLY],
  ['all of the only accepted auds', { aud: ['github', GITHUB] }, ONLY],
];
for (const [what, claims, expected] of accepted) {
  test(`accepts a token with ${what}`, () => checkAudience(claims, expected, 'github'));
}

test('accepts an opaque token, which cannot be checked', () => {
  for (const expected of [[GITHUB], ONLY, 'any'] as const) checkAudience(OPAQUE, expected, 'github');
});

const wrong: [what: string, claims: Record<string, unknown>][] = [
  ['another aud', { aud: 'docs' }],
  ['several auds, none of them expected', { aud: ['docs', 'cambist'] }],
  ['no aud', {}],
  ['an empty list', { aud: [] }],
  ['an aud that begins like the expected one', { aud: `${GITHUB}x` }],
  ['an aud with a slash at the end', { aud: `${GITHUB}/` }],
  ['an aud that is not text', { aud: [[GITHUB], 1, null, { [GITHUB]: true }] }],
];
for (const [what, claims] of wrong) {
  test(`refuses a token with ${what}`, () => {
    assert.throws(
      () => checkAudience(claims, [GITHUB], 'github'),
      failsWith('ERR_ISSUED_TOKEN_AUDIENCE', /route "github".*contains none of.*expect_audience/),
    );
    assert.throws(
      () => checkAudience(claims, ONLY, 'github'),
      failsWith('ERR_ISSUED_TOKEN_AUDIENCE', /route "github".*nothing but.*expect_audience\.only/),
    );
  });
}

for (const aud of [
  [GITHUB, 'docs'],
  ['docs', GITHUB],
  [GITHUB, 1],
  [GITHUB, null],
  [GITHUB, [GITHUB]],
]) {
  test(`expect_audience.only refuses a token with the auds ${JSON.stringify(aud)}`, () => {
    assert.throws(
      () => checkAudience({ aud } as unknown as Claims, ONLY, 'github'),
      failsWith('ERR_ISSUED_TOKEN_AUDIENCE', /not for this backend alone/),
    );
  });
}

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
