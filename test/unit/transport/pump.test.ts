import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { createDispatchers } from '../../../src/transport/dispatchers.ts';
import { pump } from '../../../src/transport/http1/write-request.ts';
import { eventually } from '../../harness/eventually.ts';
import { eventStream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { dispatched } from '../../harness/followed.ts';

/** A stream that accepts one chunk at a time, and the next when the test says so. */
function slowStream(): { stream: Writable; taken: string[]; take: () => void } {
  const taken: string[] = [];
  let take = (): void => {};
  const stream = new Writable({
    highWaterMark: 1,
    write(chunk: Buffer, _, written) {
      taken.push(chunk.toString());
      take = written;
    },
  });
  return { stream, taken, take: () => take() };
}

/** Content that counts its reads, and notes whether it was released. */
function counted(...parts: string[]): {
  content: AsyncIterable<Buffer>;
  given: () => number;
  isReturned: () => boolean;
} {
  let given = 0;
  let isReturned = false;
  async function* content(): AsyncGenerator<Buffer> {
    try {
      for (const part of parts) {
        given += 1;
        yield Buffer.from(part);
      }
    } finally {
      isReturned = true;
    }
  }
  return { content: content(), given: () => given, isReturned: () => isReturned };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('reads content no faster than the stream accepts it, and reports backpressure', async () => {
  const { stream, taken, take } = slowStream();
  const { content, given } = counted('a', 'b', 'c');
  const reported: string[] = [];
  const pumped = pump(content, stream, {
    blocked: () => reported.push('blocked'),
    unblocked: () => reported.push('unblocked'),
  });
  for (const [i, part] of ['a', 'b', 'c'].entries()) {
    await turn();
    assert.equal(given(), i + 1);
    assert.equal(taken.at(-1), part);
    assert.equal(reported.at(-1), 'blocked');
    take();
    await turn();
  }
  assert.equal(await pumped, true);
  assert.deepEqual(reported, Array(3).fill(['blocked', 'unblocked']).flat());
  assert.equal(stream.writableEnded, false);
});

test('stops reading and releases the content when the stream closes', async () => {
  const { stream } = slowStream();
  const { content, given, isReturned } = counted('a', 'b', 'c');
  const pumped = pump(content, stream, { blocked() {}, unblocked() {} });
  await turn();
  stream.destroy();
  assert.equal(await pumped, false);
  assert.equal(given(), 2);
  assert.equal(isReturned(), true);
  assert.deepEqual([stream.listenerCount('drain'), stream.listenerCount('close')], [0, 0]);
});

test('returns false when the content ends after the stream closed', async () => {
  const { stream } = slowStream();
  const next = async (): Promise<IteratorResult<Buffer>> => {
    await turn();
    return { done: true, value: undefined };
  };
  const none: AsyncIterable<Buffer> = { [Symbol.asyncIterator]: () => ({ next }) };
  const pumped = pump(none, stream, { blocked() {}, unblocked() {} });
  stream.destroy();
  assert.equal(await pumped, false);
});

test('rejects with the error of the content', async () => {
  const { stream, take } = slowStream();
  async function* failing(): AsyncGenerator<Buffer> {
    yield Buffer.from('a');
    throw new Error('gone');
  }
  const pumped = pump(failing(), stream, { blocked() {}, unblocked() {} });
  await turn();
  take();
  await assert.rejects(pumped, /^Error: gone$/);
});

const HOUR_MS = 3_600_000;

test('allows an idle hour on a stream, and an hour until a response', async (t) => {
  const stream = eventStream();
  const waiting: ServerResponse[] = [];
  const upstream = await startFakeUpstream(t, (received, response) => {
    if (received.url === '/stream') return stream.handler(received, response);
    waiting.push(response);
  });
  const dispatchers = createDispatchers(() => {});
  t.after(() => dispatchers.destroy());
  const pool = await dispatchers.for({ name: 'route "github"', tls: undefined, connectMs: 5000 });
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const slow = dispatched(pool, { origin: upstream.url, path: '/slow', method: 'POST', body: Buffer.from('{}') });
  const { text } = await dispatched(pool, { origin: upstream.url, path: '/stream' });
  await eventually('both are in flight', () => upstream.requests.length === 2);
  t.mock.timers.tick(HOUR_MS);
  t.mock.timers.reset();
  stream.emit('still here');
  stream.end();
  assert.equal(await text(), 'data: still here\n\n');
  for (const response of waiting) response.end('at last');
  assert.equal(await (await slow).text(), 'at last');
});
