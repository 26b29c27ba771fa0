import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_TEXT_BYTES } from '../../../../src/transport/pump.ts';
import {
  type BareConnection,
  http1Dispatcher,
  responseOf,
  startBareUpstream,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

/** Long enough for bytes to arrive over loopback. */
const ARRIVED_MS = 30;

async function* streamed(...parts: readonly string[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part);
}

/** Content whose parts are given by the test. */
function slow(): {
  content: AsyncIterable<Buffer>;
  give(part: string | Error | null): void;
  isReturned: () => boolean;
} {
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

/** Everything behind the headers of the first request. */
function contentOf(connection: BareConnection | undefined): string | undefined {
  const text = connection?.received ?? '';
  const end = text.indexOf('\r\n\r\n');
  return end === -1 ? undefined : text.slice(end + 4);
}

for (const [way, tls] of WAYS) {
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
    test(`sends content ${what}, and reuses the connection, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority });
      const dispatcher = http1Dispatcher(t, authority);
      const request = { origin: upstream.origin, method: 'POST', headers: headers as never } as const;
      const first = follow(dispatcher, { ...request, body: body() });
      await eventually('the content', () => contentOf(upstream.connections[0]) === content);
      upstream.connections[0]?.send(responseOf('hello'));
      assert.deepEqual((await first.ended()).events, ['start', 'response 200', 'data', 'end']);
      const next = follow(dispatcher, { origin: upstream.origin, path: '/next' });
      await eventually(
        'the next request',
        () => contentOf(upstream.connections[0])?.startsWith(`${content}GET /next `) === true,
      );
      upstream.connections[0]?.send(responseOf('hello'));
      await next.ended();
      assert.equal(upstream.connections.length, 1);
    });
  }

  for (const [what, parts, headers] of [
    ['longer than announced, in one chunk', ['hello!'], ['content-length', '5']],
    ['longer than announced, in the last chunk', ['hel', 'lo', '!'], ['content-length', '5']],
    ['shorter than announced', ['hel'], ['content-length', '5']],
    ['missing', [], ['content-length', '5']],
  ] as const) {
    test(`fails a request whose content is ${what}, and never completes it, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority });
      const body = streamed(...parts);
      const options = { origin: upstream.origin, method: 'POST', headers: headers as never, body } as const;
      const followed = await follow(http1Dispatcher(t, authority), options).ended();
      assert.deepEqual(followed.events, ['start', 'error RequestContentLengthMismatchError']);
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.ok((contentOf(upstream.connections[0]) ?? '').length < 5);
    });
  }

  for (const [what, headers] of [
    ['in chunks', []],
    ['with a length', ['content-length', '9']],
  ] as const) {
    test(`fails a request whose content ${what} fails, and never completes it, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority });
      const { content, give } = slow();
      const options = { origin: upstream.origin, method: 'POST', headers: headers as never, body: content } as const;
      const followed = follow(http1Dispatcher(t, authority), options);
      give('hello');
      await eventually('the first part', () => contentOf(upstream.connections[0])?.includes('hello') === true);
      const failure = Object.assign(new Error('gone'), { name: 'Gone' });
      give(failure);
      assert.deepEqual((await followed.ended()).events, ['start', 'error Gone']);
      assert.equal(followed.error, failure);
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.doesNotMatch(contentOf(upstream.connections[0]) ?? '', /0\r\n\r\n$/);
    });

    test(`stops reading content ${what} when the handler aborts, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority });
      const { content, give, isReturned } = slow();
      const options = { origin: upstream.origin, method: 'POST', headers: headers as never, body: content } as const;
      const followed = follow(http1Dispatcher(t, authority), options);
      give('hello');
      await eventually('the first part', () => contentOf(upstream.connections[0])?.includes('hello') === true);
      followed.controller?.abort(Object.assign(new Error('enough'), { name: 'Enough' }));
      give('more');
      await eventually('the content is released', isReturned);
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.deepEqual(followed.events, ['start', 'error Enough']);
      assert.doesNotMatch(contentOf(upstream.connections[0]) ?? '', /more/);
    });
  }

  test(`passes on a response that precedes the end of the content, and closes the connection, over ${way}`, async (t) => {
    // No sweep closes the connection.
    t.mock.timers.enable({ apis: ['setInterval'] });
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('enough')), { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const { content, give, isReturned } = slow();
    const followed = await follow(dispatcher, { origin: upstream.origin, method: 'POST', body: content }).ended();
    assert.deepEqual([followed.body, ...followed.events], ['enough', 'start', 'response 200', 'data', 'end']);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
    give('late');
    await eventually('the content is released', isReturned);
    await follow(dispatcher, { origin: upstream.origin }).ended();
    assert.equal(upstream.connections.length, 2);
    assert.deepEqual(followed.events, ['start', 'response 200', 'data', 'end']);
  });

  test(`passes on a response while content is still sent, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      (connection) => connection.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello'),
      { authority },
    );
    const dispatcher = http1Dispatcher(t, authority);
    const { content, give } = slow();
    const followed = follow(dispatcher, { origin: upstream.origin, method: 'POST', body: content });
    await eventually('the headers', () => followed.body === 'hello');
    give('rest');
    give(null);
    await eventually('the rest', () => contentOf(upstream.connections[0]) === '4\r\nrest\r\n0\r\n\r\n');
    upstream.connections[0]?.send('world');
    assert.deepEqual(
      [(await followed.ended()).body, ...followed.events],
      ['helloworld', 'start', 'response 200', 'data', 'end'],
    );
    await follow(
      dispatcher,
      { origin: upstream.origin },
      { onResponse: (controller) => controller.abort(new Error()) },
    ).ended();
    assert.equal(upstream.connections.length, 1);
  });

  for (const [what, headers] of [
    ['in chunks', []],
    ['with a length', ['content-length', String(64 << 20)]],
  ] as const) {
    test(`reads content ${what} no faster than the upstream, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority, readsNothing: true });
      let given = 0;
      async function* content(): AsyncGenerator<Buffer> {
        for (; given < 64; given += 1) yield Buffer.alloc(1 << 20, 'x');
      }
      const options = { origin: upstream.origin, method: 'POST', headers: headers as never, body: content() } as const;
      const followed = follow(http1Dispatcher(t, authority), options);
      await eventually('the content is being sent', () => given > 0 && upstream.connections.length === 1);
      await delay(10 * ARRIVED_MS);
      const blockedAt = given;
      assert.ok(blockedAt < 32, `${blockedAt} MiB were read for an upstream that reads nothing`);
      await delay(ARRIVED_MS);
      assert.equal(given, blockedAt);
      let received = 0;
      upstream.connections[0]?.socket.on('data', (chunk) => {
        received += chunk.length;
        if (received >= 64 << 20 && followed.events.length === 1) upstream.connections[0]?.send(responseOf(''));
      });
      await followed.ended();
      assert.equal(given, 64);
      assert.ok(received >= 64 << 20);
    });
  }
}
