import assert from 'node:assert/strict';
import { test } from 'node:test';
import { containsToken, headerTokens, MAX_TOKENS, sharesText } from '../../../src/proxy/caller-tokens.ts';

const NAMES = ['authorization', 'x-user-token'];

test('finds each token once, without its scheme, in headers of any letter case', () => {
  const raw = ['AUTHORIZATION', ' Bearer  token-one ', 'X-User-Token', 'token-two', 'authorization', 'DPoP token-one'];
  assert.deepEqual(headerTokens(raw, NAMES), ['token-one', 'token-two']);
});

test('ignores text of fewer than 8 characters and other headers', () => {
  assert.deepEqual(headerTokens(['authorization', 'Bearer 1234567', 'cookie', 'token-one'], NAMES), []);
});

test('stops at one token more than the limit, and then takes every text for a repeated token', () => {
  const raw = Array.from({ length: 5000 }, (_, index) => ['x-user-token', `token-${1000 + index}`]).flat();
  const tokens = headerTokens(raw, NAMES);
  assert.equal(tokens.length, MAX_TOKENS + 1);
  assert.ok(containsToken('', tokens) && sharesText('', tokens));
  const fewer = headerTokens(raw.slice(0, 2 * MAX_TOKENS), NAMES);
  assert.equal(fewer.length, MAX_TOKENS);
  assert.ok(!containsToken('', fewer) && !sharesText('', fewer));
});

test('finds a token in other text, plain, percent-encoded and base64-encoded', () => {
  for (const text of [
    ...['token+one', 'x=token+one;', 'token%2bone', 'token%252bone', 'x%20tok%65n%2Bone%', '%%74oken+one'],
    ...['', 'a', 'ab', 'abc'].map((before) => `Basic ${btoa(`${before}token+one:x`)}`),
  ]) {
    assert.ok(containsToken(text, ['other-token', 'token+one']), text);
  }
  for (const text of ['', 'token one', 'TOKEN+ONE', 'token%25252bone'])
    assert.ok(!containsToken(text, ['token+one']), text);
});

test('compares text with tokens both ways, but no text of fewer than 8 characters with a part of one', () => {
  assert.ok(sharesText('id-token-one-1', ['token-one']));
  assert.ok(sharesText('ken-one-', ['token-one-and-more']));
  assert.ok(!sharesText('ken-one', ['token-one-and-more']));
});
