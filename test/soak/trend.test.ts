import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Point, percentile, trendOf } from './trend.ts';

const line = (slope: number, noise: (i: number) => number, count = 60): Point[] =>
  Array.from({ length: count }, (_, i) => ({ hours: i / count, value: 100 + (slope * i) / count + noise(i) }));

test('finds the slope of any line exactly', () => {
  fc.assert(
    fc.property(fc.integer({ min: -1000, max: 1000 }), fc.integer({ min: 3, max: 200 }), (slope, count) => {
      const trend = trendOf(line(slope, () => 0, count));
      assert.ok(Math.abs(trend.slope - slope) < 1e-6);
      assert.ok(Math.abs(trend.intercept - 100) < 1e-6);
      assert.ok(trend.error < 1e-3);
    }),
  );
});

test('has an error that covers the true slope of noisy values', () => {
  const { slope, error } = trendOf(line(5, (i) => Math.sin(i * 12.9898) * 3));
  assert.ok(Math.abs(slope - 5) < error);
});

test('has a larger error where neighbours resemble each other', () => {
  const alternating = trendOf(line(0, (i) => (i % 2 === 0 ? 1 : -1)));
  const waves = trendOf(line(0, (i) => (i % 20 < 10 ? 1 : -1)));
  assert.ok(waves.error > 2 * alternating.error);
});

test('returns the percentile of values in any order', () => {
  assert.deepEqual([percentile([3, 1, 2], 0.5), percentile([3, 1, 2], 0.99), percentile([], 0.5)], [2, 3, 0]);
});
