import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConsentUrl } from '../../../src/tokens/interaction.ts';
import { toRefusal } from '../../../src/tokens/token-response.ts';
import { expectedResponse } from './sample.ts';

const HOSTS = ['example.okta.com', 'consent.example.com:8443'];
const TOKEN = 'eyJhbGciOiJub25lIn0.subject-token.signature';
const SENT = [
  { name: 'subject_token', value: TOKEN, isCredential: true },
  { name: 'scope', value: 'read', isCredential: false },
];
const read = (url: string) => readConsentUrl(url, HOSTS, SENT);

test('accepts https URLs of listed hosts', () => {
  for (const url of [
    'https://example.okta.com/some/opaque/path',
    'https://example.okta.com/authorize?client_id=a&scope=read#x',
    'https://consent.example.com:8443/',
  ]) {
    assert.deepEqual(read(url), { url });
  }
  assert.deepEqual(read('HTTPS://EXAMPLE.okta.com:443/a'), { url: 'https://example.okta.com/a' });
});

test('refuses every other URL, and each with a credential', () => {
  for (const url of [
    'http://example.okta.com/',
    'javascript:alert(1)//example.okta.com',
    'ftp://example.okta.com/',
    'https://evil-example.okta.com/',
    '/relative',
    'https://example.okta.com:8443/',
    'https://example.okta.com.evil.com/',
    'https://example.okta.com@evil.com/',
    'https://user@example.okta.com/',
    'https://:password@example.okta.com/',
    'https://example.okta.com\\@evil.com/',
    'https://example.okta.com/ x',
    'https://example.okta.com/\nx',
    'https://exämple.okta.com/',
    `https://example.okta.com/${'x'.repeat(2048)}`,
    `https://example.okta.com/?${'a=1&'.repeat(33)}`,
    '',
    // With a credential.
    `https://example.okta.com/?hint=${TOKEN}`,
    `https://example.okta.com/${TOKEN}`,
    `https://example.okta.com/#${TOKEN}`,
    `https://example.okta.com/?a=${[...TOKEN].map((c) => `%${c.charCodeAt(0).toString(16)}`).join('')}`,
    'https://example.okta.com/?access_token=x',
    'https://example.okta.com/?ID_TOKEN=x',
    'https://example.okta.com/#refresh_token=x',
  ]) {
    assert.ok('problem' in read(url), url);
  }
});

test('names the host that the operator may add, and nothing else of the URL', () => {
  const refused = read('https://evil.example.com/secret-path?secret=query');
  assert.ok('problem' in refused);
  assert.match(refused.problem, /its host "evil\.example\.com" is not in interaction\.hosts/);
  assert.ok(!refused.problem.includes('secret'));
});

const URL = 'https://example.okta.com/some/opaque/path';
const CONSENT_HERE = { hosts: ['example.okta.com'], url: undefined };
const PAGE = { hosts: [], url: 'https://app.example.com/connect' };

const refusal = (body: Record<string, unknown>, fields: Parameters<typeof expectedResponse>[0] = {}, status = 400) =>
  toRefusal(status, body, expectedResponse(fields));

test('reads interaction_uri of a listed host', () => {
  const body = { error: 'interaction_required', error_description: `Go to ${URL}`, interaction_uri: URL };
  const { code, consentUrl, message, status } = refusal(body, { consent: CONSENT_HERE });
  assert.deepEqual([code, status, consentUrl?.()], ['ERR_CONSENT_REQUIRED', 403, URL]);
  assert.ok(!message.includes('opaque'), message);
});

test("uses the route's consent_url where the server names no usable URL", () => {
  const bodies = [
    { error: 'interaction_required' },
    { error: 'consent_required' },
    { error: 'invalid_grant', suberror: 'consent_required', error_description: 'AADSTS65001: …' },
    { error: 'interaction_required', interaction_uri: 'https://evil.example.com/' },
    { error: 'federated_connection_refresh_token_not_found', error_description: 'Federated connection …' },
  ];
  for (const body of bodies) {
    const { code, consentUrl } = refusal(body, { consent: PAGE }, 401);
    assert.deepEqual([code, consentUrl?.()], ['ERR_CONSENT_REQUIRED', PAGE.url], body.error);
  }
});

test('blames neither caller nor operator where a vault has no connected account', () => {
  const { code, consentUrl, message } = refusal({ error: 'federated_connection_refresh_token_not_found' }, {}, 401);
  assert.deepEqual([code, consentUrl], ['ERR_CONSENT_REQUIRED', undefined]);
  assert.match(message, /set the route's consent_url/);
});

test('keeps a claims challenge, also beside a URL and for a credential of cambist', () => {
  const claims = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
  for (const more of [{}, { interaction_uri: URL }]) {
    for (const credentialOwner of ['caller', 'cambist'] as const) {
      const body = { error: 'interaction_required', claims, ...more };
      const found = refusal(body, { consent: CONSENT_HERE, credentialOwner });
      assert.deepEqual([found.code, found.claims], ['ERR_INTERACTION_REQUIRED', claims]);
    }
  }
});

test('without claims and URL, the user can only sign in again', () => {
  assert.equal(refusal({ error: 'interaction_required' }).code, 'ERR_SUBJECT_TOKEN_INVALID');
  assert.equal(refusal({ error: 'interaction_required' }, { consent: CONSENT_HERE }).code, 'ERR_SUBJECT_TOKEN_INVALID');
});

test('reads the sign-in that RFC 9470 asks for', () => {
  const authenticationOf = (fields: Record<string, unknown>) => {
    const found = refusal({ error: 'insufficient_user_authentication', ...fields });
    assert.deepEqual([found.code, found.status], ['ERR_INTERACTION_REQUIRED', 401]);
    return found.authentication;
  };
  assert.deepEqual(authenticationOf({ acr_values: 'a b', max_age: 5 }), { acrValues: 'a b', maxAge: 5 });
  assert.deepEqual(authenticationOf({ max_age: '0' }), { maxAge: 0 });
  assert.deepEqual(authenticationOf({}), {});
  for (const acr_values of ['a"b', 'a\\b', 'a\nb', 'ä', '', ' a', 'x'.repeat(1025), 7]) {
    assert.deepEqual(authenticationOf({ acr_values, max_age: -1 }), {}, String(acr_values).slice(0, 20));
  }
  for (const max_age of [-1, 1.5, Number.NaN, '5s', null, {}]) assert.deepEqual(authenticationOf({ max_age }), {});
});

test('asks for no user where the token is for cambist itself', () => {
  for (const error of ['insufficient_user_authentication', 'interaction_required', 'consent_required']) {
    const found = refusal(
      { error, interaction_uri: URL },
      { actsForUser: false, credentialOwner: 'cambist', consent: CONSENT_HERE },
    );
    assert.equal(found.code, 'ERR_CLIENT_REFUSED', error);
    assert.equal(found.consentUrl, undefined);
  }
});
