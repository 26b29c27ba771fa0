import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countOf, createHistogram, observe, quantileOf } from '../../../src/observability/counters.ts';

const BOUNDS = [0.005, 0.1, 1, 10];

test('counts a size in the first bucket whose bound is not lower', () => {
  const sizes = createHistogram(BOUNDS);
  for (const size of [0, 0.005, 0.0051, 1, 10, 10.1, 1000]) observe(sizes, size);
  assert.deepEqual(sizes.buckets, [2, 1, 1, 1, 2]);
  assert.equal(countOf(sizes), 7);
});

test('estimates quantiles within the bucket that has them', () => {
  const sizes = createHistogram(BOUNDS);
  assert.equal(quantileOf(sizes, 0.5), undefined);
  for (let i = 0; i < 10; i += 1) observe(sizes, 0.05);
  assert.equal(quantileOf(sizes, 1), 0.1);
  assert.equal(quantileOf(sizes, 0.5), 0.005 + (0.1 - 0.005) / 2);
  for (let i = 0; i < 10; i += 1) observe(sizes, 5);
  assert.equal(quantileOf(sizes, 0.5), 0.1);
  assert.equal(quantileOf(sizes, 0.75), 5.5);
});

test('estimates a quantile above all bounds as the last bound', () => {
  const sizes = createHistogram(BOUNDS);
  for (const size of [0.001, 100, 200]) observe(sizes, size);
  assert.equal(quantileOf(sizes, 0.99), 10);
});
