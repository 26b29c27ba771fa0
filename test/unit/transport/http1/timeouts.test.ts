import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { http1Dispatcher, responseOf, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

/** Short, because tests wait for this timeout. */
const HEADERS_MS = 80;

/** Several times as long, for tests in which no timeout happens. */
const LONG_MS = 4 * HEADERS_MS;

for (const [way, tls] of WAYS) {
  test(`fails a request once and closes its connection when headers are late, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, () => {}, { authority });
    const options = { origin: upstream.origin, headersTimeout: HEADERS_MS };
    const followed = await follow(http1Dispatcher(t, authority), options).ended();
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
  });

  test(`does not count an interim response as headers, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send('HTTP/1.1 102 Processing\r\n\r\n'), {
      authority,
    });
    const options = { origin: upstream.origin, headersTimeout: HEADERS_MS };
    const followed = await follow(http1Dispatcher(t, authority), options).ended();
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
  });

  test(`sets no timeout after the headers, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      (connection) => {
        connection.send('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
        setTimeout(() => connection.send('hello'), LONG_MS);
      },
      { authority },
    );
    const dispatcher = http1Dispatcher(t, authority);
    const options = { origin: upstream.origin, headersTimeout: HEADERS_MS };
    assert.deepEqual((await follow(dispatcher, options).ended()).events, ['start', 'response 200', 'data', 'end']);
    await delay(LONG_MS);
    assert.deepEqual((await follow(dispatcher, options).ended()).events, ['start', 'response 200', 'data', 'end']);
    assert.equal(upstream.connections.length, 1);
  });

  test(`does not run the timeout while it waits for content of the caller, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      (connection) => {
        connection.socket.on('data', () => {
          if (connection.received.endsWith('\r\n0\r\n\r\n')) connection.send(responseOf('hello'));
        });
      },
      { authority },
    );
    async function* body(): AsyncGenerator<Buffer> {
      yield Buffer.from('he');
      await delay(LONG_MS);
      yield Buffer.from('llo');
      await delay(LONG_MS);
    }
    const options = { origin: upstream.origin, method: 'POST', body: body(), headersTimeout: HEADERS_MS } as const;
    const followed = await follow(http1Dispatcher(t, authority), options).ended();
    assert.deepEqual(followed.events, ['start', 'response 200', 'data', 'end']);
  });

  test(`runs the timeout after all content was sent, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, () => {}, { authority });
    async function* body(): AsyncGenerator<Buffer> {
      yield Buffer.from('hello');
    }
    const options = { origin: upstream.origin, method: 'POST', body: body(), headersTimeout: HEADERS_MS } as const;
    const followed = await follow(http1Dispatcher(t, authority), options).ended();
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
  });

  test(`runs the timeout while the upstream accepts no more content, and releases the content, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, () => {}, { authority, readsNothing: true });
    let isReturned = false;
    async function* body(): AsyncGenerator<Buffer> {
      try {
        for (;;) yield Buffer.alloc(1 << 20);
      } finally {
        isReturned = true;
      }
    }
    const options = { origin: upstream.origin, method: 'POST', body: body(), headersTimeout: HEADERS_MS } as const;
    const followed = await follow(http1Dispatcher(t, authority), options).ended();
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
    await eventually('the content is released', () => isReturned);
  });

  test(`sets no timeout for content after the headers, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      (connection) => {
        connection.send('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
        connection.socket.pause();
        setTimeout(() => {
          connection.socket.resume();
          connection.send('hello');
        }, LONG_MS);
      },
      { authority },
    );
    async function* body(): AsyncGenerator<Buffer> {
      for (let i = 0; i < 32; i += 1) yield Buffer.alloc(1 << 20);
    }
    const options = { origin: upstream.origin, method: 'POST', body: body(), headersTimeout: HEADERS_MS } as const;
    const followed = await follow(http1Dispatcher(t, authority), options).ended();
    assert.deepEqual(followed.events, ['start', 'response 200', 'data', 'end']);
  });
}

test('waits without limit if there is no timeout', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => {
    setTimeout(() => connection.send(responseOf('hello')), LONG_MS);
  });
  const dispatcher = http1Dispatcher(t);
  for (const headersTimeout of [0, undefined, null]) {
    const followed = await follow(dispatcher, {
      origin: upstream.origin,
      headersTimeout: headersTimeout as never,
    }).ended();
    assert.deepEqual(followed.events, ['start', 'response 200', 'data', 'end']);
  }
});

test('fails a request whose connection takes too long', async (t) => {
  // Accepts connections and never starts TLS.
  const upstream = await startBareUpstream(t);
  const dispatcher = http1Dispatcher(t, undefined, { timeout: 500 });
  const emitted: Error[] = [];
  dispatcher.on('connectionError', (_, __, error) => emitted.push(error));
  const followed = await follow(dispatcher, { origin: upstream.origin.replace('http:', 'https:') }).ended();
  assert.deepEqual(followed.events, ['error ConnectTimeoutError']);
  assert.deepEqual(emitted, [followed.error]);
  await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
});

test('sends nothing to an upstream with an untrusted certificate', async (t) => {
  const authority = WAYS[1][1]();
  const upstream = await startBareUpstream(t, () => {}, { authority });
  const followed = await follow(http1Dispatcher(t), { origin: upstream.origin }).ended();
  assert.equal(followed.events.length, 1);
  assert.equal((followed.error as NodeJS.ErrnoException).code, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  assert.equal(upstream.connections[0]?.received ?? '', '');
});
