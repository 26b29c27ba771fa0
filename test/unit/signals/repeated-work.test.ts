import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createRepeatedWork } from '../../../src/signals/repeated-work.ts';

test('work is done once at a time, and repeated after its pause, until it is stopped', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const ends: ((succeeded: boolean | Error) => void)[] = [];
  const errors: unknown[] = [];
  const repeated = createRepeatedWork({
    work: () =>
      new Promise((resolve, reject) => {
        ends.push((result) => (result instanceof Error ? reject(result) : resolve(result)));
      }),
    pauseMs: (succeeded) => (succeeded ? 100 : 10),
    onError: (error) => void errors.push(error),
  });
  const first = repeated.run();
  assert.equal(repeated.run(), first);
  ends[0]?.(true);
  assert.deepEqual([await first, repeated.isRunning], [true, false]);
  t.mock.timers.tick(99);
  assert.equal(ends.length, 1);
  t.mock.timers.tick(1);
  assert.deepEqual([ends.length, repeated.isRunning], [2, true]);
  const failure = new Error('failed');
  ends[1]?.(failure);
  await setImmediate();
  assert.deepEqual(errors, [failure]);
  t.mock.timers.tick(10);
  assert.equal(ends.length, 3);
  repeated.stop();
  ends[2]?.(false);
  await setImmediate();
  t.mock.timers.tick(1000);
  assert.equal(ends.length, 3);
});
