import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPacer } from '../../../src/tokens/pacer.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const PAUSE_MS = 1000;

test('something is let through for a key, and again when the pause is over', () => {
  const clock = createFakeClock();
  const may = createPacer(PAUSE_MS, clock);
  assert.equal(may('a'), true);
  clock.advance(PAUSE_MS - 1);
  // To ask does not make the pause longer.
  assert.equal(may('a'), false);
  clock.advance(1);
  assert.deepEqual([may('a'), may('a')], [true, false]);
});

test('a pause is that of its key alone', () => {
  const clock = createFakeClock();
  const may = createPacer(PAUSE_MS, clock);
  assert.deepEqual([may('a'), may('b'), may('a'), may('b')], [true, true, false, false]);
});

test('of more than ten thousand keys at a time the first are forgotten', () => {
  const may = createPacer(PAUSE_MS, createFakeClock());
  for (let i = 0; i < 10_001; i += 1) assert.equal(may(`key-${i}`), true);
  assert.deepEqual([may('key-1'), may('key-0')], [false, true]);
});
