import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createLogger } from '../../../src/observability/logger.ts';
import { toWire } from '../../../src/signals/replica-wire.ts';
import { createTeller, type IsTold, type TellerOptions } from '../../../src/signals/tell-replicas.ts';
import { MAX_REVOCATIONS } from '../../../src/tokens/revocations.ts';
import { usedHeapBytes } from '../../harness/heap.ts';
import { ISSUER } from './joined-replica.ts';

const entry = (name: number | string, atMs = 1) => ({ key: String(name).padStart(43, 'x'), issuer: ISSUER, atMs });

/** A teller, with what it published. @param onKeep runs while the store keeps the batch of this number, from 1 */
function startTeller(onKeep: (number: number) => 'kept' | 'failed' | undefined = () => undefined) {
  let batches = 0;
  const { teller, published } = startTellerOf(async (batch) => {
    batches += 1;
    const result = onKeep(batches) ?? 'kept';
    await setImmediate();
    return batch.map(() => result);
  });
  return { teller, published, batches: () => batches };
}

function startTellerOf(keep: TellerOptions['keep']) {
  const published: unknown[] = [];
  const teller = createTeller({
    messages: { publish: async (_topic, payload) => published.push(...(payload as unknown[])) > 0 },
    keep,
    logger: createLogger('info', { write: () => {} }),
    onFailed: () => {},
  });
  return { teller, published };
}

test('a caller waits for its own revocations, but not for those that others keep adding', async () => {
  const { teller, batches } = startTeller((number) => {
    if (number < 50) teller.tell(entry(number));
    return undefined;
  });
  teller.tell(entry('own'));
  assert.ok((await teller.settled())());
  assert.ok(batches() <= 2);
});

test('a caller waits until its revocation was told, even if it replaces one that is being told', async () => {
  let later: Promise<IsTold> | undefined;
  const { teller, published } = startTeller((number) => {
    if (number > 1) return undefined;
    teller.tell(entry('alice', 2));
    later = teller.settled();
    return undefined;
  });
  teller.tell(entry('alice', 1));
  assert.ok((await teller.settled())());
  assert.deepEqual(published, [toWire(entry('alice', 1))]);
  assert.ok((await later)?.());
  assert.deepEqual(published, [toWire(entry('alice', 1)), toWire(entry('alice', 2))]);
});

test('each caller learns whether the store took its own revocations', async () => {
  const later: Promise<IsTold>[] = [];
  const { teller, batches } = startTeller((number) => {
    if (number < 3) {
      teller.tell(entry(number));
      later.push(teller.settled());
    }
    return number === 2 ? 'failed' : 'kept';
  });
  teller.tell(entry('own'));
  assert.ok((await teller.settled())());
  // The last one was not tried, because the store does not work.
  const areTold = await Promise.all(later);
  assert.deepEqual(
    areTold.map((isTold) => isTold()),
    [false, false],
  );
  assert.deepEqual([teller.unshared, batches()], [2, 2]);
  assert.ok(!(await teller.settled())());
  teller.retry();
  assert.ok((await teller.settled())());
  assert.ok(areTold.every((isTold) => isTold()));
});

test('tells what is added as soon as a caller has settled', async () => {
  const { teller } = startTeller();
  for (const name of ['alice', 'bob', 'carol']) {
    teller.tell(entry(name));
    assert.ok((await teller.settled())());
  }
  assert.equal(teller.unshared, 0);
});

test('a caller learns that its revocation was told while others keep adding some', async () => {
  let own: IsTold = () => false;
  const seen: [isTold: boolean, unshared: number][] = [];
  const { teller } = startTeller((number) => {
    seen.push([own(), teller.unshared]);
    // The first attempt fails, and no later pass leaves nothing unshared.
    if (number < 9) teller.tell(entry(number));
    return number === 1 ? 'failed' : undefined;
  });
  teller.tell(entry('own'));
  own = await teller.settled();
  assert.ok(!own());
  teller.retry();
  await teller.allTold();
  assert.deepEqual(seen[2], [true, 1]);
});

test('a caller waits five seconds at most', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let keep = (_result: readonly 'kept'[]) => {};
  const { teller } = startTellerOf(() => new Promise((resolve) => (keep = resolve)));
  teller.tell(entry('alice'));
  const settled = teller.settled();
  await setImmediate();
  t.mock.timers.tick(5000);
  const isTold = await settled;
  assert.ok(!isTold());
  keep(['kept']);
  await teller.allTold();
  assert.ok(isTold());
});

test('nothing remains of callers that stopped waiting, however long the store takes', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { teller } = startTellerOf(() => new Promise(() => {}));
  teller.tell(entry('alice'));
  // The pass that begins next tells what these callers wait for.
  await setImmediate();
  async function call(times: number): Promise<number> {
    for (let i = 0; i < times; i += 100) {
      const all = Promise.all(Array.from({ length: 100 }, () => teller.settled()));
      t.mock.timers.tick(5000);
      await all;
    }
    await setImmediate();
    return usedHeapBytes();
  }
  const before = await call(1000);
  const bytesEach = ((await call(20_000)) - before) / 20_000;
  assert.ok(bytesEach < 1000, `${bytesEach} bytes for each caller`);
});

test('everything that a full list has can wait, and no more than twice of it', async () => {
  const { teller } = startTeller(() => 'failed');
  teller.tell({ key: '', issuer: ISSUER, atMs: 1 });
  for (let number = 0; number < MAX_REVOCATIONS; number += 1) teller.tell(entry(number));
  assert.equal(teller.unshared, MAX_REVOCATIONS + 1);
  for (let number = 0; number < MAX_REVOCATIONS; number += 1) teller.tell(entry(MAX_REVOCATIONS + number));
  assert.equal(teller.unshared, 2 * MAX_REVOCATIONS);
  assert.ok(!(await teller.settled())());
});
