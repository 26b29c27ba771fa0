import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JWTPayload } from 'jose';
import type { TokenTarget } from '../../../src/config/config.ts';
import { issuedFindings } from '../../../src/doctor/issued-token.ts';
import { answer, NOW_MS, server, target } from './samples.ts';

const NOW_SECONDS = NOW_MS / 1000;
const GOOD: JWTPayload = { aud: 'backend', iat: NOW_SECONDS, exp: NOW_SECONDS + 300 };

interface Case {
  when: string;
  claims?: JWTPayload | undefined;
  target?: Partial<TokenTarget>;
  body?: Record<string, unknown>;
  subject?: JWTPayload;
  sent?: Record<string, string>;
  repeated?: string;
  /** Codes that are no success. */
  finds: string[];
  fix?: RegExp;
}

const CASES: Case[] = [
  { when: 'a token for the backend alone', finds: [] },
  { when: 'one of several audiences', claims: { ...GOOD, aud: ['backend', 'account'] }, finds: ['audience_broad'] },
  { when: 'another backend', claims: { ...GOOD, aud: ['docs'] }, finds: ['audience_wrong'], fix: /expect_audience/ },
  { when: 'no aud at all', claims: { exp: NOW_SECONDS + 300 }, finds: ['audience_wrong'], fix: /audience mapper/ },
  {
    when: 'Spring: the token came back for ourselves',
    claims: { ...GOOD, aud: ['cambist'] },
    finds: ['token_for_client'],
    fix: /OAuth2TokenCustomizer/,
  },
  { when: 'expect_audience is any', target: { expectAudience: 'any' }, finds: ['audience_not_checked'] },
  { when: 'an opaque token', claims: undefined, finds: ['token_opaque'], fix: /requested_token_type: jwt/ },
  { when: "the caller's own token", repeated: 'subject_token', finds: ['token_unchanged'] },
  { when: 'the client secret', repeated: 'client_secret', finds: ['token_unchanged'], fix: /enable token exchange/ },
  { when: 'a token of the future', claims: { ...GOOD, nbf: NOW_SECONDS + 60 }, finds: ['token_not_yet_valid'] },
  { when: 'a token that had ended', claims: { ...GOOD, exp: NOW_SECONDS - 60 }, finds: ['token_expired'], fix: /NTP/ },
  { when: 'a life of seconds', body: { expires_in: '10' }, finds: ['lifetime_short'] },
  {
    when: 'no word of its life',
    claims: { aud: 'backend' },
    body: { expires_in: undefined },
    finds: ['lifetime_unknown'],
  },
  { when: "a life beyond the caller's token", subject: { exp: NOW_SECONDS + 60 }, finds: ['outlives_subject'] },
  { when: 'an actor that is not named', sent: { actor_token: 'x' }, finds: ['actor_missing'] },
  { when: 'an actor that is named', sent: { actor_token: 'x' }, claims: { ...GOOD, act: { sub: 'w' } }, finds: [] },
  {
    when: 'less scope than was asked for',
    target: { scope: 'repo:read repo:write' },
    body: { scope: 'repo:read' },
    finds: ['scope_reduced'],
  },
  { when: "Entra's .default scope", target: { scope: 'api://b/.default' }, body: { scope: 'api://b/x' }, finds: [] },
];
for (const { when, body = {}, subject, sent, repeated, finds, fix, ...more } of CASES) {
  test(`${when}: ${finds.length === 0 ? 'nothing to say' : finds.join(', ')}`, () => {
    const findings = issuedFindings({
      server: server(),
      target: target(more.target),
      answer: answer(200, { expires_in: 300, ...body }, { form: new URLSearchParams(sent) }),
      claims: 'claims' in more ? more.claims : GOOD,
      subject,
      repeated,
    });
    const wrong = findings.filter(({ severity }) => severity !== 'ok');
    assert.deepEqual(
      wrong.map(({ code }) => code),
      finds,
    );
    if (fix !== undefined) assert.match(wrong[0]?.fix ?? '', fix);
  });
}

test('the claims are part of the finding, and of no other', () => {
  const findings = issuedFindings({
    server: server(),
    target: target(),
    answer: answer(200, {}),
    claims: GOOD,
    subject: undefined,
    repeated: undefined,
  });
  assert.deepEqual(
    findings.filter(({ claims }) => claims !== undefined).map(({ code, claims }) => [code, claims]),
    [['token_issued', GOOD]],
  );
});
