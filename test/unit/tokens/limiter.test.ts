import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLimiter } from '../../../src/tokens/limiter.ts';
import { deferred, failsWith, settle } from './sample.ts';

const AT_ONCE = 64;
const WAITING = 1024;

/** Work that stays until it is let go, in the order in which it began. */
function setUp(maxWaitMs = 60_000) {
  const limiter = createLimiter('main', maxWaitMs);
  const begun: ReturnType<typeof deferred<number>>[] = [];
  const start = (): Promise<number> =>
    limiter.run(() => {
      const work = deferred<number>();
      begun.push(work);
      return work.promise;
    });
  return { start, begun };
}

test('64 run at once, and the others in their turn, first come first served', async () => {
  const { start, begun } = setUp();
  const running = Array.from({ length: AT_ONCE }, start);
  const order: number[] = [];
  const waiting = [1, 2, 3].map((number) => start().then(() => order.push(number)));
  await settle();
  assert.equal(begun.length, AT_ONCE);
  begun[5]?.resolve(0);
  await settle();
  assert.equal(begun.length, AT_ONCE + 1);
  for (let i = 0; i < AT_ONCE + 3; i += 1) {
    begun[i]?.resolve(0);
    await settle();
  }
  await Promise.all([...running, ...waiting]);
  assert.deepEqual(order, [1, 2, 3]);
});

test('work that fails gives its place up as well', async () => {
  const { start, begun } = setUp();
  const running = Array.from({ length: AT_ONCE }, start);
  const waiting = start();
  begun[0]?.reject(new Error('x'));
  await assert.rejects(running[0] as Promise<number>, /x/);
  await settle();
  assert.equal(begun.length, AT_ONCE + 1);
  for (const work of begun) work.resolve(7);
  assert.equal(await waiting, 7);
});

test('places are free again when all is done', async () => {
  const { start, begun } = setUp();
  for (let round = 0; round < 3; round += 1) {
    const running = Array.from({ length: AT_ONCE }, start);
    assert.equal(begun.length, (round + 1) * AT_ONCE);
    for (const work of begun) work.resolve(0);
    await Promise.all(running);
  }
});

test('1024 may wait, and one more is refused at once', async () => {
  const { start, begun } = setUp();
  const all = Array.from({ length: AT_ONCE + WAITING }, start);
  await assert.rejects(start(), failsWith('ERR_STS_UNAVAILABLE', /"main" has too much to do: 1024 wait/));
  for (let i = 0; i < AT_ONCE + WAITING; i += 1) {
    if (begun[i] === undefined) await settle();
    begun[i]?.resolve(1);
  }
  assert.equal((await Promise.all(all)).length, AT_ONCE + WAITING);
});

test('nobody waits longer than is allowed, and who gave up takes no turn', async () => {
  const { start, begun } = setUp(20);
  const running = Array.from({ length: AT_ONCE }, start);
  await assert.rejects(start(), failsWith('ERR_STS_UNAVAILABLE', /no turn came in 20 ms/));
  for (const work of begun) work.resolve(0);
  await Promise.all(running);
  assert.equal(begun.length, AT_ONCE);
});
