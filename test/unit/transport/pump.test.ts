import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { pump } from '../../../src/transport/pump.ts';

/** A stream that takes one chunk, and the next when it is told. */
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

/** Counts what is taken of the content, and whether it was let go. */
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

test('content is taken no faster than the stream takes it, and it is said who is waited for', async () => {
  const { stream, taken, take } = slowStream();
  const { content, given } = counted('a', 'b', 'c');
  const said: string[] = [];
  const pumped = pump(content, stream, { stalled: () => said.push('stalled'), flows: () => said.push('flows') });
  for (const [i, part] of ['a', 'b', 'c'].entries()) {
    await turn();
    assert.equal(given(), i + 1);
    assert.equal(taken.at(-1), part);
    assert.equal(said.at(-1), 'stalled');
    take();
    await turn();
  }
  assert.equal(await pumped, true);
  assert.deepEqual(said, Array(3).fill(['stalled', 'flows']).flat());
  assert.equal(stream.writableEnded, false);
});

test('where the stream is closed meanwhile nothing more is taken, and the content is let go', async () => {
  const { stream } = slowStream();
  const { content, given, isReturned } = counted('a', 'b', 'c');
  const pumped = pump(content, stream, { stalled() {}, flows() {} });
  await turn();
  stream.destroy();
  assert.equal(await pumped, false);
  assert.equal(given(), 2);
  assert.equal(isReturned(), true);
  assert.deepEqual([stream.listenerCount('drain'), stream.listenerCount('close')], [0, 0]);
});

test('content that ends after the stream was closed says that it was', async () => {
  const { stream } = slowStream();
  const next = async (): Promise<IteratorResult<Buffer>> => {
    await turn();
    return { done: true, value: undefined };
  };
  const none: AsyncIterable<Buffer> = { [Symbol.asyncIterator]: () => ({ next }) };
  const pumped = pump(none, stream, { stalled() {}, flows() {} });
  stream.destroy();
  assert.equal(await pumped, false);
});

test('what the content throws comes out', async () => {
  const { stream, take } = slowStream();
  async function* failing(): AsyncGenerator<Buffer> {
    yield Buffer.from('a');
    throw new Error('gone');
  }
  const pumped = pump(failing(), stream, { stalled() {}, flows() {} });
  await turn();
  take();
  await assert.rejects(pumped, /^Error: gone$/);
});
