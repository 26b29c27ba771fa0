import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_TEXT_BYTES } from '../../../../src/transport/pump.ts';
import {
  answerOf,
  type BareConnection,
  http1Dispatcher,
  startBareUpstream,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

/** Long enough for loopback to bring what was sent. */
const ARRIVED_MS = 30;

async function* bitByBit(...parts: readonly string[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part);
}

/** Content that goes on as the test says. */
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

/** A character for each byte. */
function everyByte(length: number): string {
  return Array.from({ length }, (_, index) => String.fromCharCode(index % 256)).join('');
}

/** What is behind the head of the first request. */
function contentOf(connection: BareConnection | undefined): string | undefined {
  const text = connection?.received ?? '';
  const end = text.indexOf('\r\n\r\n');
  return end === -1 ? undefined : text.slice(end + 4);
}

for (const [way, tls] of WAYS) {
  for (const [what, body, headers, content] of [
    ['all of it', () => Buffer.from('hello'), [], 'hello'],
    ['all of it, whatever bytes it has', () => Buffer.from(everyByte(256), 'latin1'), [], everyByte(256)],
    ...[MAX_TEXT_BYTES, MAX_TEXT_BYTES + 1].map(
      (length) =>
        [`all ${length} bytes of it`, () => Buffer.from(everyByte(length), 'latin1'), [], everyByte(length)] as const,
    ),
    ['none, though it is there', () => Buffer.alloc(0), [], ''],
    ['in chunks', () => bitByBit('he', 'llo'), [], '2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n'],
    ['in chunks, one of which is empty', () => bitByBit('he', '', 'llo'), [], '2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n'],
    ['in chunks that are none', () => bitByBit(), [], '0\r\n\r\n'],
    ['in chunks of more than nine', () => bitByBit('x'.repeat(26)), [], `1a\r\n${'x'.repeat(26)}\r\n0\r\n\r\n`],
    ['as long as was announced', () => bitByBit('he', '', 'llo', ''), ['content-length', '5'], 'hello'],
    ['announced to be none', () => bitByBit(''), ['content-length', '0'], ''],
  ] as const) {
    test(`content goes upstream ${what}, and the connection serves the next request, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority });
      const dispatcher = http1Dispatcher(t, authority);
      const request = { origin: upstream.origin, method: 'POST', headers: headers as never } as const;
      const first = follow(dispatcher, { ...request, body: body() });
      await eventually('its content', () => contentOf(upstream.connections[0]) === content);
      upstream.connections[0]?.send(answerOf('hello'));
      assert.deepEqual((await first.over()).events, ['start', 'head 200', 'data', 'end']);
      const next = follow(dispatcher, { origin: upstream.origin, path: '/next' });
      await eventually(
        'the next',
        () => contentOf(upstream.connections[0])?.startsWith(`${content}GET /next `) === true,
      );
      upstream.connections[0]?.send(answerOf('hello'));
      await next.over();
      assert.equal(upstream.connections.length, 1);
    });
  }

  for (const [what, parts, headers] of [
    ['more than was announced, at once', ['hello!'], ['content-length', '5']],
    ['more than was announced, in the end', ['hel', 'lo', '!'], ['content-length', '5']],
    ['less than was announced', ['hel'], ['content-length', '5']],
    ['none of what was announced', [], ['content-length', '5']],
  ] as const) {
    test(`a request whose content is ${what} fails, and never looks whole, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority });
      const body = bitByBit(...parts);
      const options = { origin: upstream.origin, method: 'POST', headers: headers as never, body } as const;
      const followed = await follow(http1Dispatcher(t, authority), options).over();
      assert.deepEqual(followed.events, ['start', 'error RequestContentLengthMismatchError']);
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.ok((contentOf(upstream.connections[0]) ?? '').length < 5);
    });
  }

  for (const [what, headers] of [
    ['in chunks', []],
    ['of a length', ['content-length', '9']],
  ] as const) {
    test(`content ${what} that fails on the way fails its request, which never looks whole, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority });
      const { content, give } = slow();
      const options = { origin: upstream.origin, method: 'POST', headers: headers as never, body: content } as const;
      const followed = follow(http1Dispatcher(t, authority), options);
      give('hello');
      await eventually('its first part', () => contentOf(upstream.connections[0])?.includes('hello') === true);
      const failure = Object.assign(new Error('gone'), { name: 'Gone' });
      give(failure);
      assert.deepEqual((await followed.over()).events, ['start', 'error Gone']);
      assert.equal(followed.error, failure);
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.doesNotMatch(contentOf(upstream.connections[0]) ?? '', /0\r\n\r\n$/);
    });

    test(`content ${what} is read no further when the handler has given up, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority });
      const { content, give, isReturned } = slow();
      const options = { origin: upstream.origin, method: 'POST', headers: headers as never, body: content } as const;
      const followed = follow(http1Dispatcher(t, authority), options);
      give('hello');
      await eventually('its first part', () => contentOf(upstream.connections[0])?.includes('hello') === true);
      followed.controller?.abort(Object.assign(new Error('enough'), { name: 'Enough' }));
      give('more');
      await eventually('it is let go', isReturned);
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.deepEqual(followed.events, ['start', 'error Enough']);
      assert.doesNotMatch(contentOf(upstream.connections[0]) ?? '', /more/);
    });
  }

  test(`an answer before the end of the content is told whole, and its connection is not used again, by ${way}`, async (t) => {
    // Nothing is swept.
    t.mock.timers.enable({ apis: ['setInterval'] });
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('enough')), { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const { content, give, isReturned } = slow();
    const followed = await follow(dispatcher, { origin: upstream.origin, method: 'POST', body: content }).over();
    assert.deepEqual([followed.body, ...followed.events], ['enough', 'start', 'head 200', 'data', 'end']);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
    give('late');
    await eventually('the content is let go', isReturned);
    await follow(dispatcher, { origin: upstream.origin }).over();
    assert.equal(upstream.connections.length, 2);
    assert.deepEqual(followed.events, ['start', 'head 200', 'data', 'end']);
  });

  test(`an answer that begins before the end of the content goes on with it, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      (connection) => connection.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello'),
      { authority },
    );
    const dispatcher = http1Dispatcher(t, authority);
    const { content, give } = slow();
    const followed = follow(dispatcher, { origin: upstream.origin, method: 'POST', body: content });
    await eventually('the head', () => followed.body === 'hello');
    give('rest');
    give(null);
    await eventually('the rest', () => contentOf(upstream.connections[0]) === '4\r\nrest\r\n0\r\n\r\n');
    upstream.connections[0]?.send('world');
    assert.deepEqual(
      [(await followed.over()).body, ...followed.events],
      ['helloworld', 'start', 'head 200', 'data', 'end'],
    );
    await follow(
      dispatcher,
      { origin: upstream.origin },
      { onHead: (controller) => controller.abort(new Error()) },
    ).over();
    assert.equal(upstream.connections.length, 1);
  });

  for (const [what, headers] of [
    ['in chunks', []],
    ['of a length', ['content-length', String(64 << 20)]],
  ] as const) {
    test(`content ${what} is read no faster than the upstream takes it, and whole when it does, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, () => {}, { authority, isDeaf: true });
      let given = 0;
      async function* content(): AsyncGenerator<Buffer> {
        for (; given < 64; given += 1) yield Buffer.alloc(1 << 20, 'x');
      }
      const options = { origin: upstream.origin, method: 'POST', headers: headers as never, body: content() } as const;
      const followed = follow(http1Dispatcher(t, authority), options);
      await eventually('it is on its way', () => given > 0 && upstream.connections.length === 1);
      await delay(10 * ARRIVED_MS);
      const stalledAt = given;
      assert.ok(stalledAt < 32, `${stalledAt} MiB are taken for an upstream that reads nothing`);
      await delay(ARRIVED_MS);
      assert.equal(given, stalledAt);
      let came = 0;
      upstream.connections[0]?.socket.on('data', (chunk) => {
        came += chunk.length;
        if (came >= 64 << 20 && followed.events.length === 1) upstream.connections[0]?.send(answerOf(''));
      });
      await followed.over();
      assert.equal(given, 64);
      assert.ok(came >= 64 << 20);
    });
  }
}
