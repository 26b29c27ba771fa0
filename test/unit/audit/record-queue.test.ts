import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRecordQueue, type QueueOptions } from '../../../src/audit/record-queue.ts';
import type { RecordSink } from '../../../src/audit/sinks.ts';
import { eventually } from '../../harness/eventually.ts';

/** A queue whose destination takes what `take` says. */
function setUp(options: Partial<QueueOptions> = {}) {
  const sent: string[] = [];
  const fake = {
    sent,
    text: () => sent.join(''),
    take: (lines: Buffer): number | Promise<number> => lines.length,
    isClosed: false,
  };
  const sink: RecordSink = {
    open() {},
    send(lines) {
      const taken = fake.take(lines);
      if (typeof taken === 'number') sent.push(lines.subarray(0, taken).toString());
      return taken;
    },
    reopen() {},
    async close() {
      fake.isClosed = true;
    },
  };
  const faults: unknown[] = [];
  const queue = createRecordQueue(sink, {
    keepsAll: false,
    lossLine: (count) => `lost ${count}\n`,
    onFault: (error) => void faults.push(error),
    onRecovered: () => void faults.push('recovered'),
    ...options,
  });
  return { fake, queue, faults };
}

const failing = (): never => {
  throw new Error('no space');
};

const LARGE = `${'x'.repeat(1024 * 1024)}\n`;

test('sends the records that came while another was sent in one write', async () => {
  const { fake, queue } = setUp();
  fake.take = async (lines) => {
    fake.sent.push(lines.toString());
    return lines.length;
  };
  for (const line of ['a\n', 'b\n', 'c\n']) queue.push(line);
  await eventually('three records are written', () => queue.written === 3);
  assert.deepEqual(fake.sent, ['a\n', 'b\nc\n']);
});

test('sends each record at once to a synchronous destination', () => {
  const { fake, queue } = setUp();
  queue.push('a\n');
  queue.push('b\n');
  assert.deepEqual([fake.sent, queue.written], [['a\n', 'b\n'], 2]);
});

test('keeps records in order when a destination fails or takes a part, and reports the fault once', async () => {
  const { fake, queue, faults } = setUp();
  const { take } = fake;
  let attempts = 0;
  fake.take = () => {
    attempts += 1;
    return failing();
  };
  queue.push('first\n');
  assert.equal(queue.isBlocked, true);
  queue.push('second\n');
  await eventually('it is tried again', () => attempts === 2);
  fake.take = (lines) => Math.min(3, lines.length);
  await eventually('both are written', () => queue.written === 2);
  queue.push('third\n');
  fake.take = take;
  queue.push('fourth\n');
  await eventually('all are written', () => queue.written === 4);
  assert.equal(fake.text(), 'first\nsecond\nthird\nfourth\n');
  assert.equal(queue.isBlocked, false);
  assert.deepEqual(faults.map(String), ['Error: no space', 'recovered']);
});

test('drops records above its bound, and puts a line in their place', async () => {
  const { fake, queue } = setUp();
  const { take } = fake;
  fake.take = failing;
  for (let i = 0; i < 20; i += 1) queue.push(LARGE);
  assert.equal(queue.dropped, 4);
  fake.take = take;
  await eventually('the loss is written', () => fake.text().endsWith('lost 4\n'));
  queue.push('next\n');
  await eventually('the next record is written', () => fake.text().endsWith('lost 4\nnext\n'));
});

test('drops no record if it keeps all', async () => {
  const { fake, queue } = setUp({ keepsAll: true });
  const { take } = fake;
  fake.take = failing;
  for (let i = 0; i < 20; i += 1) queue.push(LARGE);
  await eventually('the queue is blocked', () => queue.isBlocked);
  fake.take = take;
  await eventually('all are written', () => queue.written === 20);
  assert.equal(queue.dropped, 0);
});

test('waits at its end for a destination that fails, and counts the records that it never took', async () => {
  const { fake, queue } = setUp();
  fake.take = failing;
  queue.push('a\n');
  queue.push('b\n');
  await queue.close(20, undefined);
  assert.deepEqual([queue.written, queue.dropped, fake.isClosed], [0, 2, true]);
});

test('writes the last records before it closes', async () => {
  const { fake, queue } = setUp();
  fake.take = async (lines) => {
    fake.sent.push(lines.toString());
    return lines.length;
  };
  queue.push('a\n');
  await queue.close(5000, undefined);
  assert.deepEqual([queue.written, queue.dropped], [1, 0]);
});
