import assert from 'node:assert/strict';
import { executionAsyncResource } from 'node:async_hooks';
import { test } from 'node:test';
import { heldTicks, holdTickShape } from '../../../src/commands/run.ts';

test('what is held has the shape of each object that process.nextTick makes', async () => {
  holdTickShape();
  const another = await new Promise<object>((resolve) => process.nextTick(() => resolve(executionAsyncResource())));
  const [held] = heldTicks;
  assert.ok(held !== undefined && held !== another);
  assert.deepEqual(Reflect.ownKeys(held), Reflect.ownKeys(another));
  assert.ok(Reflect.ownKeys(another).includes('callback'));
});
