import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pairedRatios, rotated, spreadOf } from './statistics.ts';

test('the median of an even number of values lies between the two in the middle', () => {
  assert.deepEqual(spreadOf([4, 1, 3, 2]), { median: 2.5, min: 1, max: 4 });
  assert.deepEqual(spreadOf([9, 1, 5]), { median: 5, min: 1, max: 9 });
});

test('there is no median of nothing', () => {
  assert.throws(() => spreadOf([]), RangeError);
});

test('ratios are taken round by round, so that a slow round counts for both', () => {
  assert.deepEqual(pairedRatios([10, 100], [20, 200]), { median: 0.5, min: 0.5, max: 0.5 });
});

test('rounds that do not pair are refused', () => {
  assert.throws(() => pairedRatios([1], [1, 2]), RangeError);
});

test('each contestant is the first in its turn', () => {
  assert.deepEqual(
    [0, 1, 2, 3].map((round) => rotated(['a', 'b', 'c'], round).join('')),
    ['abc', 'bca', 'cab', 'abc'],
  );
});
