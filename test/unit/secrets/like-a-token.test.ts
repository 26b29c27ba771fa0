import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isLikeToken } from '../../../src/secrets/like-a-token.ts';

test('recognizes tokens and handles within a text', () => {
  for (const text of [
    'eyJhbGciOiJ',
    'x eyJhbGciOiJ.',
    'cbh_',
    'ewogImFsZyI6IkhT.eyB0eXAi',
    'a.ey0123456789.01234567',
  ]) {
    assert.ok(isLikeToken(text), text);
  }
  for (const text of ['', 'keyword', 'eyJshort', 'ey0123456789', 'ey0123456789.short', 'ey012345678.01234567']) {
    assert.ok(!isLikeToken(text), text);
  }
});

test('agrees with one regular expression, whose time grows with the square of the length', () => {
  const simple = /eyJ[\w-]{8}|e[wy][\w-]{10,}\.[\w-]{8}|cbh_/;
  const piece = fc.constantFrom('e', 'y', 'w', 'J', '.', ' ', 'a', '0123456789', 'ey', 'eyJ', '-', 'cbh', '_');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 24 }), (pieces) => {
      const text = pieces.join('');
      assert.equal(isLikeToken(text), simple.test(text));
    }),
    { numRuns: 2000 },
  );
});

test('reads a long text that starts a token everywhere', () => {
  assert.ok(!isLikeToken('ey'.repeat(32 * 1024)));
  assert.ok(isLikeToken('a'.repeat(64 * 1024 + 1)));
});
