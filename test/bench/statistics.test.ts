import assert from 'node:assert/strict';
import { test } from 'node:test';
import { medianInterval, pairedRatios, rotated, spreadOf } from './statistics.ts';

test('takes the mean of the two middle values as the median of an even number of values', () => {
  assert.deepEqual(spreadOf([4, 1, 3, 2]), { median: 2.5, min: 1, max: 4, lower: 1.75, upper: 3.25 });
  assert.deepEqual(spreadOf([9, 1, 5]), { median: 5, min: 1, max: 9, lower: 3, upper: 7 });
});

test('throws for an empty list', () => {
  assert.throws(() => spreadOf([]), RangeError);
  assert.throws(() => medianInterval([]), RangeError);
});

test('an interval contains the median, is narrow for many similar values, and is the same each time', () => {
  const values = Array.from({ length: 40 }, (_, i) => 1 + (i % 5) / 100);
  const { median, low, high } = medianInterval(values);
  assert.ok(low <= median && median <= high);
  assert.ok(high - low < 0.03, `${low} to ${high}`);
  assert.deepEqual(medianInterval(values), { median, low, high });
});

test('a few slow rounds do not move the interval', () => {
  const values = Array.from({ length: 40 }, (_, i) => (i % 8 === 0 ? 3 : 1));
  assert.deepEqual(medianInterval(values), { median: 1, low: 1, high: 1 });
});

test('computes ratios round by round, so that a slow round affects both', () => {
  assert.deepEqual(pairedRatios([10, 100], [20, 200]), [0.5, 0.5]);
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
