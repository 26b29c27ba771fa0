import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRateLimit } from '../../../src/tokens/rate-limit.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

function setUp() {
  const clock = createFakeClock();
  const admit = createRateLimit(3, 1000, clock);
  const admitted = (events: number) => Array.from({ length: events }, admit).filter(Boolean).length;
  return { clock, admitted };
}

test('admits a burst, and then refuses', () => {
  const { admitted } = setUp();
  assert.equal(admitted(10), 3);
  assert.equal(admitted(10), 0);
});

test('admits one event in each interval after a burst', () => {
  const { clock, admitted } = setUp();
  admitted(3);
  clock.advance(999);
  assert.equal(admitted(1), 0);
  clock.advance(1);
  assert.equal(admitted(5), 1);
  clock.advance(2000);
  assert.equal(admitted(5), 2);
});

test('admits no more than a burst after a long time', () => {
  const { clock, admitted } = setUp();
  admitted(3);
  clock.advance(3_600_000);
  assert.equal(admitted(10), 3);
});
