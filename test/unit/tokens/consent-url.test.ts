import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConsentUrl } from '../../../src/tokens/consent-url.ts';

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

test('refuses every other URL', () => {
  for (const url of [
    'http://example.okta.com/',
    'javascript:alert(1)//example.okta.com',
    'data:text/html,x',
    '/relative',
    'https://example.okta.com:8443/',
    'https://consent.example.com/',
    'https://evil.example.com/',
    'https://example.okta.com.evil.com/',
    'https://evil.com/example.okta.com',
    'https://example.okta.com@evil.com/',
    'https://user:password@example.okta.com/',
    'https://user@example.okta.com/',
    'https://example.okta.com\\@evil.com/',
    'https://example.okta.com/ x',
    'https://example.okta.com/\nx',
    'https://exämple.okta.com/',
    `https://example.okta.com/${'x'.repeat(2048)}`,
    `https://example.okta.com/?${'a=1&'.repeat(33)}`,
    '',
  ]) {
    assert.ok('problem' in read(url), url);
  }
});

test('refuses URLs with a credential', () => {
  for (const url of [
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
