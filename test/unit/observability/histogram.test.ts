import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countOf, createHistogram, observe } from '../../../src/observability/counters.ts';

const BOUNDS = [0.005, 0.1, 1, 10];

test('counts a size in the first bucket whose bound is not lower', () => {
  const sizes = createHistogram(BOUNDS);
  for (const size of [0, 0.005, 0.0051, 1, 10, 10.1, 1000]) observe(sizes, size);
  assert.deepEqual(sizes.buckets, [2, 1, 1, 1, 2]);
  assert.equal(countOf(sizes), 7);
});
