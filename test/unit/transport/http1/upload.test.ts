import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_TEXT_BYTES, pump } from '../../../../src/transport/http1/write-request.ts';
import { ARRIVED_MS, responseOf, streamed, testWays } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { SERVED } from '../../../harness/followed.ts';

/** Content whose parts are given by the test. */
function slow() {
  const parts: (string | Error | null)[] = [];
  let isReturned = false;
  let wake = (): void => {};
  async function* content(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        const part = parts.shift();
        if (part === null) return;
        if (part instanceof Error) throw part;
        if (part !== undefined) yield Buffer.from(part);
        else await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      isReturned = true;
    }
  }
  const give = (part: string | Error | null): void => {
    parts.push(part);
    wake();
  };
  return { content: content(), give, isReturned: () => isReturned };
}

/** A text with a character for each byte. */
function everyByte(length: number): string {
  return Array.from({ length }, (_, index) => String.fromCharCode(index % 256)).join('');
}

/** Everything behind the headers of the first request, or undefined before they arrived. */
function contentIn(received: string): string | undefined {
  const end = received.indexOf('\r\n\r\n');
  return end === -1 ? undefined : received.slice(end + 4);
}

/** A request with this content. */
const posting = (body: unknown, headers: readonly string[] = []) =>
  ({ method: 'POST', headers: headers as string[], body }) as const;

for (const [what, body, headers, content] of [
  ['buffered', () => Buffer.from('hello'), [], 'hello'],
  ['buffered, with every byte', () => Buffer.from(everyByte(256), 'latin1'), [], everyByte(256)],
  ...[MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1].flatMap((length) => {
    const text = everyByte(length);
    return [
      [`buffered, of ${length} bytes`, () => Buffer.from(text, 'latin1'), [], text],
      [`as a text of ${length} bytes`, () => text, [], text],
    ] as const;
  }),
  ['as an empty text', () => '', [], ''],
  ['empty', () => Buffer.alloc(0), [], ''],
  ['in chunks', () => streamed('he', 'llo'), [], '2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n'],
  ['in chunks, one of them empty', () => streamed('he', '', 'llo'), [], '2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n'],
  ['in no chunks', () => streamed(), [], '0\r\n\r\n'],
  ['in a chunk of more than nine bytes', () => streamed('x'.repeat(26)), [], `1a\r\n${'x'.repeat(26)}\r\n0\r\n\r\n`],
  ['of the announced length', () => streamed('he', '', 'llo', ''), ['content-length', '5'], 'hello'],
  ['of the announced length 0', () => streamed(''), ['content-length', '0'], ''],
] as const) {
  testWays(`sends content ${what}, and reuses the connection`, async (start) => {
    const { send, connections, received } = await start();
    const first = send(posting(body(), headers));
    await eventually('the content', () => contentIn(received()) === content);
    connections[0]?.send(responseOf('hello'));
    assert.deepEqual((await first.ended()).events, SERVED);
    const next = send({ path: '/next' });
    await eventually('the next request', () => contentIn(received())?.startsWith(`${content}GET /next `) === true);
    connections[0]?.send(responseOf('hello'));
    await next.ended();
    assert.equal(connections.length, 1);
  });
}

for (const [what, parts] of [
  ['longer than announced, in one chunk', ['hello!']],
  ['longer than announced, in the last chunk', ['hel', 'lo', '!']],
  ['shorter than announced', ['hel']],
  ['missing', []],
] as const) {
  testWays(`fails a request whose content is ${what}, and never completes it`, async (start) => {
    const { ask, received, closed } = await start();
    const followed = await ask(posting(streamed(...parts), ['content-length', '5']));
    assert.deepEqual(followed.events, ['start', 'error RequestContentLengthMismatchError']);
    await closed();
    assert.ok((contentIn(received()) ?? '').length < 5);
  });
}

const GONE = Object.assign(new Error('gone'), { name: 'Gone' });

for (const [what, headers] of [
  ['in chunks', []],
  ['with a length', ['content-length', '9']],
] as const) {
  testWays(`fails a request whose content ${what} fails, and never completes it`, async (start) => {
    const { send, received, closed } = await start();
    const { content, give } = slow();
    const followed = send(posting(content, headers));
    give('hello');
    await eventually('the first part', () => contentIn(received())?.includes('hello') === true);
    give(GONE);
    assert.deepEqual((await followed.ended()).events, ['start', 'error Gone']);
    assert.equal(followed.error, GONE);
    await closed();
    assert.doesNotMatch(contentIn(received()) ?? '', /0\r\n\r\n$/);
  });

  testWays(`stops reading content ${what} when the handler aborts`, async (start) => {
    const { send, received, closed } = await start();
    const { content, give, isReturned } = slow();
    const followed = send(posting(content, headers));
    give('hello');
    await eventually('the first part', () => contentIn(received())?.includes('hello') === true);
    followed.controller?.abort(GONE);
    give('more');
    await eventually('the content is released', isReturned);
    await closed();
    assert.deepEqual(followed.events, ['start', 'error Gone']);
    assert.doesNotMatch(contentIn(received()) ?? '', /more/);
  });
}

testWays('passes on a response that precedes the end of the content, and closes the connection', async (start, t) => {
  // No sweep closes the connection.
  t.mock.timers.enable({ apis: ['setInterval'] });
  const { ask, connections, closed } = await start(responseOf('enough'));
  const { content, give, isReturned } = slow();
  const followed = await ask(posting(content));
  assert.deepEqual([followed.body, ...followed.events], ['enough', ...SERVED]);
  await closed();
  give('late');
  await eventually('the content is released', isReturned);
  await ask();
  assert.equal(connections.length, 2);
  assert.deepEqual(followed.events, SERVED);
});

testWays('passes on a response while content is still sent', async (start) => {
  const { send, ask, connections, received } = await start('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello');
  const { content, give } = slow();
  const followed = send(posting(content));
  await eventually('the headers', () => followed.body === 'hello');
  give('rest');
  give(null);
  await eventually('the rest', () => contentIn(received()) === '4\r\nrest\r\n0\r\n\r\n');
  connections[0]?.send('world');
  assert.deepEqual([(await followed.ended()).body, ...followed.events], ['helloworld', ...SERVED]);
  await ask({}, { onResponse: (controller) => controller.abort(GONE) });
  assert.equal(connections.length, 1);
});

for (const [what, headers] of [
  ['in chunks', []],
  ['with a length', ['content-length', String(64 << 20)]],
] as const) {
  testWays(`reads content ${what} no faster than the upstream`, async (start) => {
    const { send, connections } = await start(() => {}, { readsNothing: true });
    let given = 0;
    async function* content(): AsyncGenerator<Buffer> {
      for (; given < 64; given += 1) yield Buffer.alloc(1 << 20, 'x');
    }
    const followed = send(posting(content(), headers));
    await eventually('the content is being sent', () => given > 0 && connections.length === 1);
    await delay(10 * ARRIVED_MS);
    const blockedAt = given;
    assert.ok(blockedAt < 32, `${blockedAt} MiB were read for an upstream that reads nothing`);
    await delay(ARRIVED_MS);
    assert.equal(given, blockedAt);
    let received = 0;
    connections[0]?.socket.on('data', (chunk) => {
      received += chunk.length;
      if (received >= 64 << 20 && followed.events.length === 1) connections[0]?.send(responseOf(''));
    });
    await followed.ended();
    assert.equal(given, 64);
    assert.ok(received >= 64 << 20);
  });
}

const IGNORED = { blocked() {}, unblocked() {} };

test('leaves no listener on a stream that accepts content slowly', async () => {
  const stream = new Writable({ highWaterMark: 1, write: (_chunk, _encoding, written) => setImmediate(written) });
  assert.equal(await pump(streamed('a', 'b'), stream, IGNORED), true);
  assert.deepEqual([stream.listenerCount('drain'), stream.listenerCount('close')], [0, 0]);
});

test('reports that the stream closed before the content ended', async () => {
  const stream = new Writable();
  const pumped = pump(streamed(), stream, IGNORED);
  stream.destroy();
  assert.equal(await pumped, false);
});
