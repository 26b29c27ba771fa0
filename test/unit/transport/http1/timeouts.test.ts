import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { link, OK, responseOf, streamed, testWays } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { SERVED } from '../../../harness/followed.ts';

/** Short, because tests wait for this timeout. */
const HEADERS_MS = 80;

/** In tests in which no timeout happens, a busy machine has this long for a response … */
const UNUSED_MS = 700;
/** … and each part takes longer. */
const LONG_MS = 800;

const LATE = ['start', 'error HeadersTimeoutError'];

const HEADERS = `${OK}Content-Length: 5\r\n\r\n`;

const TIMED = { headersTimeout: HEADERS_MS };
const UNTIMED = { headersTimeout: UNUSED_MS };

/** A request with this content. */
const posting = (body: AsyncIterable<Buffer>, options: object = TIMED) =>
  ({ ...options, method: 'POST', body }) as const;

testWays('fails a request once and closes its connection when headers are late', async (start) => {
  const { ask, closed } = await start();
  const followed = await ask(TIMED);
  assert.deepEqual(followed.events, LATE);
  await closed();
  assert.deepEqual(followed.events, LATE);
});

testWays('does not count an interim response as headers', async (start) => {
  const { ask } = await start('HTTP/1.1 102 Processing\r\n\r\n');
  assert.deepEqual((await ask(TIMED)).events, LATE);
});

testWays('sets no timeout after the headers', async (start) => {
  const { ask, connections } = await start(({ send }) => {
    send(HEADERS);
    setTimeout(() => send('hello'), LONG_MS);
  });
  assert.deepEqual((await ask(UNTIMED)).events, SERVED);
  await delay(LONG_MS);
  assert.deepEqual((await ask(UNTIMED)).events, SERVED);
  assert.equal(connections.length, 1);
});

testWays('does not run the timeout while it waits for content of the caller', async (start) => {
  const { ask } = await start((connection) => {
    connection.socket.on('data', () => {
      if (connection.received.endsWith('\r\n0\r\n\r\n')) connection.send(responseOf('hello'));
    });
  });
  async function* body(): AsyncGenerator<Buffer> {
    for (const part of ['he', 'llo']) {
      yield Buffer.from(part);
      await delay(LONG_MS);
    }
  }
  assert.deepEqual((await ask(posting(body(), UNTIMED))).events, SERVED);
});

testWays('runs the timeout after all content was sent', async (start) => {
  const { ask } = await start();
  assert.deepEqual((await ask(posting(streamed('hello')))).events, LATE);
});

testWays('runs the timeout while the upstream accepts no more content, and releases the content', async (start) => {
  const { ask } = await start(() => {}, { readsNothing: true });
  let isReturned = false;
  async function* body(): AsyncGenerator<Buffer> {
    try {
      for (;;) yield Buffer.alloc(1 << 20);
    } finally {
      isReturned = true;
    }
  }
  assert.deepEqual((await ask(posting(body()))).events, LATE);
  await eventually('the content is released', () => isReturned);
});

testWays('sets no timeout for content after the headers', async (start) => {
  const { ask } = await start(({ socket, send }) => {
    send(HEADERS);
    socket.pause();
    setTimeout(() => {
      socket.resume();
      send('hello');
    }, LONG_MS);
  });
  const parts = Array<string>(32).fill('x'.repeat(1 << 20));
  assert.deepEqual((await ask(posting(streamed(...parts), UNTIMED))).events, SERVED);
});

test('waits without limit if there is no timeout', async (t) => {
  const { ask } = await link(t, ({ send }) => {
    setTimeout(() => send(responseOf('hello')), LONG_MS);
  });
  for (const headersTimeout of [0, undefined, null]) assert.deepEqual((await ask({ headersTimeout })).events, SERVED);
});
