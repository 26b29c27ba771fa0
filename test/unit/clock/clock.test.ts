import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../src/clock/clock.ts';

test('the system clock gives epoch milliseconds, and monotonic ones that never go back', () => {
  const before = Date.now();
  const wall = systemClock.wallMs();
  assert.ok(wall >= before && wall <= Date.now());
  const first = systemClock.monotonicMs();
  assert.ok(systemClock.monotonicMs() >= first);
});
