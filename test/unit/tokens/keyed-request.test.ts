import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCooldown } from '../../../src/tokens/keyed-request.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const COOLDOWN_MS = 1000;

test('admits a key again after its cooldown', () => {
  const clock = createFakeClock();
  const admits = createCooldown(COOLDOWN_MS, clock);
  assert.equal(admits('a'), true);
  clock.advance(COOLDOWN_MS - 1);
  // A refused event does not extend the cooldown.
  assert.equal(admits('a'), false);
  clock.advance(1);
  assert.deepEqual([admits('a'), admits('a')], [true, false]);
});

test('keeps a cooldown for each key', () => {
  const admits = createCooldown(COOLDOWN_MS, createFakeClock());
  assert.deepEqual([admits('a'), admits('b'), admits('a'), admits('b')], [true, true, false, false]);
});

test('forgets the oldest of more than ten thousand keys', () => {
  const admits = createCooldown(COOLDOWN_MS, createFakeClock());
  for (let i = 0; i < 10_001; i += 1) assert.equal(admits(`key-${i}`), true);
  assert.deepEqual([admits('key-1'), admits('key-0')], [false, true]);
});
