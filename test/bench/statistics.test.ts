import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pairedRatios, rotated, spreadOf } from './statistics.ts';

test('takes the mean of the two middle values as the median of an even number of values', () => {
  assert.deepEqual(spreadOf([4, 1, 3, 2]), { median: 2.5, min: 1, max: 4 });
  assert.deepEqual(spreadOf([9, 1, 5]), { median: 5, min: 1, max: 9 });
});

test('throws for an empty list', () => {
  assert.throws(() => spreadOf([]), RangeError);
});

test('computes ratios round by round, so that a slow round affects both', () => {
  assert.deepEqual(pairedRatios([10, 100], [20, 200]), { median: 0.5, min: 0.5, max: 0.5 });
});

test('throws for different numbers of rounds', () => {
  assert.throws(() => pairedRatios([1], [1, 2]), RangeError);
});

test('each contestant comes first in turn', () => {
  assert.deepEqual(
    [0, 1, 2, 3].map((round) => rotated(['a', 'b', 'c'], round).join('')),
    ['abc', 'bca', 'cab', 'abc'],
  );
});
