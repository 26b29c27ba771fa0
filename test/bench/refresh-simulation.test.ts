import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from './programs/random.ts';
import { simulateRefreshes } from './refresh-simulation.ts';

test('counts the first exchange of each pod and the later ones at their times', () => {
  const counts = simulateRefreshes({
    pods: 3,
    withinSeconds: 1,
    endSeconds: 10,
    nextAfterSeconds: () => 4,
    random: () => 0.5,
  });
  assert.deepEqual(counts, [3, 0, 0, 0, 3, 0, 0, 0, 3, 0]);
});

test('the same seed returns the same numbers', () => {
  const [first, second] = [createRandom(7), createRandom(7)];
  for (let i = 0; i < 100; i += 1) {
    const value = first();
    assert.equal(value, second());
    assert.ok(value >= 0 && value < 1);
  }
});
