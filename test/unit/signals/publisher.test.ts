import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { createLogger } from '../../../src/observability/logger.ts';
import { createPublisher, type IsShared, type PublisherOptions } from '../../../src/signals/publisher.ts';
import { batchOf, readEntries, toWire } from '../../../src/signals/revocation-wire.ts';
import { MAX_REVOCATIONS } from '../../../src/tokens/revocations.ts';
import { eventually } from '../../harness/eventually.ts';
import { usedHeapBytes } from '../../harness/heap.ts';
import { ISSUER } from './joined-replica.ts';

const entry = (name: number | string, atMs = 1) => ({ key: String(name).padStart(43, 'x'), issuer: ISSUER, atMs });

/** A publisher, with what it published. @param onWrite runs while the store writes the batch of this number, from 1 */
function startPublisher(onWrite: (number: number) => 'kept' | 'failed' | undefined = () => undefined) {
  let batches = 0;
  const parts = startPublisherOf(async (batch) => {
    batches += 1;
    const result = onWrite(batches) ?? 'kept';
    await setImmediate();
    return batch.map(() => result);
  });
  return { ...parts, batches: () => batches };
}

function startPublisherOf(write: PublisherOptions['write']) {
  const published: unknown[] = [];
  const publisher = createPublisher({
    messages: { publish: async (_topic, payload) => published.push(...(payload as unknown[])) > 0 },
    write,
    logger: createLogger('info', { write: () => {} }),
  });
  return { publisher, published };
}

test('a caller waits for its own revocations, but not for those that others keep adding', async () => {
  const { publisher, batches } = startPublisher((number) => {
    if (number < 50) publisher.publish(entry(number));
    return undefined;
  });
  publisher.publish(entry('own'));
  assert.ok((await publisher.settled())());
  assert.ok(batches() <= 2);
});

test('a caller waits until its revocation is written, even if it replaces one that is being written', async () => {
  let later: Promise<IsShared> | undefined;
  const { publisher, published } = startPublisher((number) => {
    if (number > 1) return undefined;
    publisher.publish(entry('alice', 2));
    later = publisher.settled();
    return undefined;
  });
  publisher.publish(entry('alice', 1));
  assert.ok((await publisher.settled())());
  assert.ok((await later)?.());
  assert.deepEqual(published, [toWire(entry('alice', 1)), toWire(entry('alice', 2))]);
});

test('each caller learns whether the store has its own revocations, and a failed write is retried', async () => {
  const later: Promise<IsShared>[] = [];
  const { publisher, batches } = startPublisher((number) => {
    if (number < 3) {
      publisher.publish(entry(number));
      later.push(publisher.settled());
    }
    return number === 2 ? 'failed' : 'kept';
  });
  publisher.publish(entry('own'));
  assert.ok((await publisher.settled())());
  // The last one was not tried, because the store does not work.
  const areShared = await Promise.all(later);
  assert.ok(areShared.every((isShared) => !isShared()));
  assert.deepEqual([publisher.unshared, batches()], [2, 2]);
  assert.ok(!(await publisher.settled())());
  await eventually('it is retried', () => publisher.unshared === 0);
  assert.ok(areShared.every((isShared) => isShared()));
  assert.equal(batches(), 3);
});

test('a caller waits five seconds at most', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let finish = (_result: readonly 'kept'[]) => {};
  const { publisher } = startPublisherOf(() => new Promise((resolve) => (finish = resolve)));
  publisher.publish(entry('alice'));
  const settled = publisher.settled();
  await setImmediate();
  t.mock.timers.tick(5000);
  const isShared = await settled;
  assert.ok(!isShared());
  finish(['kept']);
  await publisher.allShared();
  assert.ok(isShared());
});

test('nothing remains of callers that stopped waiting, however long the store takes', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { publisher } = startPublisherOf(() => new Promise(() => {}));
  publisher.publish(entry('alice'));
  await setImmediate();
  async function call(times: number): Promise<number> {
    for (let i = 0; i < times; i += 100) {
      const all = Promise.all(Array.from({ length: 100 }, () => publisher.settled()));
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

test('everything that a full list has can wait, and no more than twice of it', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { publisher } = startPublisher(() => 'failed');
  publisher.publish({ key: '', issuer: ISSUER, atMs: 1 });
  for (let number = 0; number < MAX_REVOCATIONS; number += 1) publisher.publish(entry(number));
  assert.equal(publisher.unshared, MAX_REVOCATIONS + 1);
  for (let number = 0; number < MAX_REVOCATIONS; number += 1) publisher.publish(entry(MAX_REVOCATIONS + number));
  assert.equal(publisher.unshared, 2 * MAX_REVOCATIONS);
  assert.ok(!(await publisher.settled())());
});

test('writes nothing after it is closed', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { publisher, batches } = startPublisher(() => 'failed');
  publisher.publish(entry('alice'));
  await publisher.settled();
  publisher.close();
  t.mock.timers.tick(5000);
  await setImmediate();
  assert.equal(batches(), 1);
});

const anyEntry = fc.record({
  key: fc.constantFrom('a', 'b', '_').map((letter) => letter.repeat(43)),
  issuer: fc.string({ maxLength: 200, unit: 'binary' }),
  atMs: fc.nat(),
});

test('skips entries that are malformed', () => {
  const [key, issuer, atMs] = ['k'.repeat(43), 'https://idp.example.com', 5];
  const good = [
    [key, issuer, atMs],
    ['', 'i'.repeat(2048), atMs],
  ];
  const bad = [
    ...[null, {}, [], [key], [key, issuer], [7, issuer, atMs], [key, 7, atMs], [key, issuer, '5'], [key, issuer, null]],
    ...[`${key}k`, 'k', `${key}\n`, `.${key}`].map((wrong) => [wrong, issuer, atMs]),
    ...[Number.NaN, Number.POSITIVE_INFINITY].map((wrong) => [key, issuer, wrong]),
    [key, 'i'.repeat(2049), atMs],
  ];
  assert.deepEqual(
    readEntries([...bad, ...good]),
    good.map(([k, i, at]) => ({ key: k, issuer: i, atMs: at })),
  );
  for (const value of [undefined, null, 'text', { 0: good[0] }]) assert.deepEqual(readEntries(value), []);
});

test('the largest batch fits in a message of the shared cache', () => {
  fc.assert(
    fc.property(fc.array(anyEntry, { minLength: 60, maxLength: 120 }), (entries) => {
      for (let from = 0; from < entries.length; ) {
        const batch = batchOf(entries.slice(from));
        assert.ok(batch.length > 0 && Buffer.byteLength(JSON.stringify(batch.map(toWire))) < 11_000);
        assert.deepEqual(batch, entries.slice(from, from + batch.length));
        from += batch.length;
      }
    }),
    { numRuns: 20 },
  );
});

test('reads any value without an error', () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => void readEntries(value)));
});
