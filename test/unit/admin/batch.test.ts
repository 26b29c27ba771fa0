import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBatch } from '../../../src/admin/batch.ts';

test('what waits is done at a flush, once and in its order', () => {
  const batch = createBatch();
  const done: number[] = [];
  for (const n of [1, 2, 3]) batch.add(() => void done.push(n));
  assert.deepEqual(done, []);
  batch.flush();
  batch.flush();
  assert.deepEqual(done, [1, 2, 3]);
});

test('no more waits than a batch holds', () => {
  const batch = createBatch();
  const done: number[] = [];
  for (let n = 0; n < 1000; n += 1) batch.add(() => void done.push(n));
  assert.ok(1000 - done.length < 256, `${1000 - done.length} wait`);
});
