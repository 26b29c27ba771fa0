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
  /** Who began, in that order. */
  const askers: string[] = [];
  const startFor = (asker: string): Promise<number> =>
    limiter.run(asker, () => {
      const work = deferred<number>();
      begun.push(work);
      askers.push(asker);
      return work.promise;
    });
  let callers = 0;
  /** Each time for another caller. */
  const start = (): Promise<number> => {
    callers += 1;
    return startFor(`caller-${callers}`);
  };
  return { start, startFor, begun, askers };
}

const times = (count: number, start: () => Promise<number>): Promise<number>[] => Array.from({ length: count }, start);

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

test('of the places one caller has 48 and no more, and others come in at once', async () => {
  const { start, startFor, begun } = setUp();
  const alice = times(50, () => startFor('alice'));
  assert.equal(begun.length, 48);
  const bob = startFor('bob');
  const others = times(15, start);
  assert.equal(begun.length, AT_ONCE);
  begun[48]?.resolve(0);
  await bob;
  assert.equal(begun.length, AT_ONCE);
  begun[0]?.resolve(0);
  await settle();
  assert.equal(begun.length, AT_ONCE + 1);
  for (let i = 0; i < 50 + 16; i += 1) {
    if (begun[i] === undefined) await settle();
    begun[i]?.resolve(1);
  }
  assert.equal((await Promise.all([...alice, ...others])).length, 65);
});

test('callers who wait take turns, so that one with many requests does not keep the others waiting', async () => {
  const { start, startFor, begun, askers } = setUp();
  const running = times(AT_ONCE, start);
  const waiting = [
    ...times(10, () => startFor('alice')),
    ...times(2, () => startFor('bob')),
    ...times(1, () => startFor('carol')),
  ];
  for (let i = 0; i < AT_ONCE + 13; i += 1) {
    begun[i]?.resolve(0);
    await settle();
  }
  await Promise.all([...running, ...waiting]);
  assert.deepEqual(askers.slice(AT_ONCE, AT_ONCE + 5), ['alice', 'bob', 'carol', 'alice', 'bob']);
});

test('when too many wait, the last of whoever has most waiting gives up its place', async () => {
  const { start, startFor, begun } = setUp();
  const running = times(AT_ONCE, start);
  const alice = times(WAITING, () => startFor('alice'));
  const bob = startFor('bob');
  await assert.rejects(alice.at(-1) as Promise<number>, failsWith('ERR_STS_UNAVAILABLE', /1024 wait/));
  await assert.rejects(startFor('alice'), failsWith('ERR_STS_UNAVAILABLE', /1024 wait/));
  begun[0]?.resolve(0);
  begun[1]?.resolve(0);
  await settle();
  begun[AT_ONCE + 1]?.resolve(7);
  assert.equal(await bob, 7);
  for (let i = 0; i < AT_ONCE + WAITING; i += 1) {
    if (begun[i] === undefined) await settle();
    begun[i]?.resolve(1);
  }
  await Promise.all([...running, ...alice.slice(0, -1)]);
});
