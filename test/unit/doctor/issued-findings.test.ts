import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JWTPayload } from 'jose';
import type { TokenTarget } from '../../../src/config/route.ts';
import { showShortAscii } from '../../../src/doctor/finding.ts';
import { issuedFindings } from '../../../src/doctor/issued-findings.ts';
import { NOW_MS, response, server, target } from './samples.ts';

const NOW_SECONDS = NOW_MS / 1000;
const GOOD: JWTPayload = { aud: 'backend', iat: NOW_SECONDS, exp: NOW_SECONDS + 300 };

interface Case {
  when: string;
  claims?: JWTPayload | undefined;
  ambiguous?: boolean;
  target?: Partial<TokenTarget>;
  body?: Record<string, unknown>;
  subject?: JWTPayload;
  sent?: Record<string, string>;
  repeated?: string;
  finds: string[];
  fix?: RegExp;
}

const CASES: Case[] = [
  { when: 'a token for the backend only', finds: [] },
  { when: 'one of several audiences', claims: { ...GOOD, aud: ['backend', 'account'] }, finds: ['audience_broad'] },
  {
    when: 'an audience that expect_audience.only excludes',
    claims: { ...GOOD, aud: ['backend', 'account'] },
    target: { expectAudience: { only: ['backend'] } },
    finds: ['audience_not_only'],
    fix: /this backend alone/,
  },
  { when: 'the only expected audience', target: { expectAudience: { only: ['backend'] } }, finds: [] },
  {
    when: 'another audience than the only one',
    claims: { ...GOOD, aud: ['docs'] },
    target: { expectAudience: { only: ['backend'] } },
    finds: ['audience_wrong'],
  },
  { when: 'another backend', claims: { ...GOOD, aud: ['docs'] }, finds: ['audience_wrong'], fix: /expect_audience/ },
  { when: 'no aud at all', claims: { exp: NOW_SECONDS + 300 }, finds: ['audience_wrong'], fix: /audience mapper/ },
  {
    when: 'Spring: the token is for the client',
    claims: { ...GOOD, aud: ['cambist'] },
    finds: ['token_for_client'],
    fix: /OAuth2TokenCustomizer/,
  },
  { when: 'expect_audience is any', target: { expectAudience: 'any' }, finds: ['audience_not_checked'] },
  { when: 'an opaque token', claims: undefined, finds: ['token_opaque'], fix: /requested_token_type: jwt/ },
  { when: 'claims that parsers read differently', ambiguous: true, finds: ['token_ambiguous'], fix: /byte order mark/ },
  {
    when: 'such claims where expect_audience is any',
    ambiguous: true,
    target: { expectAudience: 'any' },
    finds: ['audience_not_checked'],
  },
  { when: "the caller's own token", repeated: 'subject_token', finds: ['token_unchanged'] },
  { when: 'the client secret', repeated: 'client_secret', finds: ['token_unchanged'], fix: /enable token exchange/ },
  { when: 'a token of the future', claims: { ...GOOD, nbf: NOW_SECONDS + 60 }, finds: ['token_not_yet_valid'] },
  { when: 'an expired token', claims: { ...GOOD, exp: NOW_SECONDS - 60 }, finds: ['token_expired'], fix: /NTP/ },
  { when: 'a lifetime of seconds', body: { expires_in: '10' }, finds: ['lifetime_short'] },
  {
    when: 'an unknown lifetime',
    claims: { aud: 'backend' },
    body: { expires_in: undefined },
    finds: ['lifetime_unknown'],
  },
  { when: "a lifetime beyond the subject token's", subject: { exp: NOW_SECONDS + 60 }, finds: [] },
  {
    when: 'a short lifetime that the subject token caps',
    claims: { ...GOOD, exp: NOW_SECONDS + 20 },
    subject: { exp: NOW_SECONDS + 20 },
    finds: [],
  },
  { when: 'an actor that the token does not name', sent: { actor_token: 'x' }, finds: ['actor_missing'] },
  {
    when: 'an actor that nests too deeply to be read',
    sent: { actor_token: 'x' },
    claims: { ...GOOD, act: JSON.parse('['.repeat(10_000) + ']'.repeat(10_000)) },
    finds: [],
  },
  {
    when: 'an actor that the token names',
    sent: { actor_token: 'x' },
    claims: { ...GOOD, act: { sub: 'w' } },
    finds: [],
  },
  {
    when: 'less scope than requested',
    target: { scope: 'repo:read repo:write' },
    body: { scope: 'repo:read' },
    finds: ['scope_reduced'],
  },
  { when: "Entra's .default scope", target: { scope: 'api://b/.default' }, body: { scope: 'api://b/x' }, finds: [] },
];
for (const { when, body = {}, subject, sent, repeated, ambiguous = false, finds, fix, ...more } of CASES) {
  test(`reports ${finds.length === 0 ? 'no problem' : finds.join(', ')}: ${when}`, () => {
    const findings = issuedFindings({
      server: server(),
      target: target(more.target),
      request: response(200, { expires_in: 300, ...body }, { form: new URLSearchParams(sent) }),
      claims: 'claims' in more ? more.claims : GOOD,
      ambiguous,
      subject,
      repeated,
      show: showShortAscii,
    });
    const wrong = findings.filter(({ severity }) => severity !== 'ok');
    assert.deepEqual(
      wrong.map(({ code }) => code),
      finds,
    );
    if (fix !== undefined) assert.match(wrong[0]?.fix ?? '', fix);
  });
}

test('shows the claims of the token and its client, but none of the user', () => {
  const findings = issuedFindings({
    server: server(),
    target: target(),
    request: response(200, {}),
    ambiguous: false,
    claims: {
      ...GOOD,
      sub: 'alice',
      name: 'Alice',
      email: 'alice@example.com',
      azp: 'cambist',
      act: { sub: 'agent', email: 'agent@example.com', act: { sub: 'first', name: 'Bob' } },
    },
    subject: undefined,
    repeated: undefined,
    show: showShortAscii,
  });
  assert.deepEqual(
    findings.filter(({ claims }) => claims !== undefined).map(({ code, claims }) => [code, claims]),
    [['token_issued', { ...GOOD, azp: 'cambist', act: { sub: 'agent', act: { sub: 'first' } } }]],
  );
});
