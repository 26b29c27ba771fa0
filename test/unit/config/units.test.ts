import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseDuration, parseSize, tokenTypeUrn } from '../../../src/config/units.ts';

test('reads a duration: a number with a unit, or 0', () => {
  const cases: [string | number, number | undefined][] = [
    ['250ms', 250],
    ['5s', 5000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['0', 0],
    [0, 0],
    ['5', undefined],
    [5, undefined],
    ['1.5s', undefined],
    ['-1s', undefined],
    ['05s', undefined],
    ['0s', undefined],
    ['5 s', undefined],
    ['5d', undefined],
    ['', undefined],
  ];
  for (const [text, ms] of cases) assert.equal(parseDuration(text), ms, String(text));
});

test('reads a size: bytes, or a number with a binary unit', () => {
  const cases: [string | number, number | undefined][] = [
    ['64KiB', 65_536],
    ['1MiB', 1_048_576],
    ['1GiB', 1_073_741_824],
    ['512', 512],
    [512, 512],
    [0, 0],
    ['64KB', undefined],
    ['64 KiB', undefined],
    [-1, undefined],
    [1.5, undefined],
  ];
  for (const [text, bytes] of cases) assert.equal(parseSize(text), bytes, String(text));
});

test('reads a token type: a short name or a full URN', () => {
  assert.equal(tokenTypeUrn('access_token'), 'urn:ietf:params:oauth:token-type:access_token');
  assert.equal(tokenTypeUrn('id-jag'), 'urn:ietf:params:oauth:token-type:id-jag');
  assert.equal(tokenTypeUrn('urn:example:token-type:x'), 'urn:example:token-type:x');
  assert.equal(tokenTypeUrn('https://example.com/types#x'), undefined);
  assert.equal(tokenTypeUrn('acces_token'), undefined);
});
