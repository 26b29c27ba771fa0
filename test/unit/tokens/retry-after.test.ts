import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { readRetryAfter } from '../../../src/tokens/retry-after.ts';
import { processTokenResponse } from '../../../src/tokens/token-response.ts';
import { expectedResponse } from './sample.ts';

const NOW = Date.parse('2026-11-24T12:00:00Z');

const values: [value: string | undefined, seconds: number | undefined][] = [
  ['7', 7],
  [' 7 ', 7],
  ['0', 1],
  ['60', 60],
  ['61', 60],
  ['99999999999999999999999', 60],
  ['Tue, 24 Nov 2026 12:00:30 GMT', 30],
  ['Tuesday, 24-Nov-26 12:00:30 GMT', 30],
  ['Tue Nov 24 12:00:30 2026', 30],
  ['Tue, 24 Nov 2026 11:00:00 GMT', 1],
  ['Wed, 25 Nov 2026 12:00:00 GMT', 60],
  ['Tue, 99 Nov 2026 12:00:30 GMT', undefined],
  [undefined, undefined],
  ['', undefined],
  ['-7', undefined],
  ['7.5', undefined],
  ['soon', undefined],
  ['in 2099', undefined],
  ['2026-11-24T12:00:30Z', undefined],
  ['7, 8', undefined],
];
for (const [value, seconds] of values) {
  test(`reads Retry-After ${JSON.stringify(value)} as ${seconds ?? 'no number of'} seconds`, () => {
    assert.equal(readRetryAfter(value, NOW), seconds);
  });
}

test('passes Retry-After on with a fault, but not with a refusal', () => {
  const secondsOf = (status: number): number | undefined => {
    try {
      processTokenResponse({ status, retryAfter: '7', text: '' }, expectedResponse(), NOW);
    } catch (error) {
      if (error instanceof CambistError) return error.retryAfterSeconds;
    }
    throw new Error('nothing was thrown');
  };
  assert.equal(secondsOf(503), 7);
  assert.equal(secondsOf(429), 7);
  assert.equal(secondsOf(400), undefined);
});
