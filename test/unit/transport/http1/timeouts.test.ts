import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { answerOf, http1Dispatcher, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

/** Short, for tests that wait for it. */
const HEADERS_MS = 80;

/** Some times as long, for tests that see to it that nothing happens. */
const LONG_MS = 4 * HEADERS_MS;

for (const [way, tls] of WAYS) {
  test(`an upstream that does not answer in time fails its request, once, and its connection ends, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, () => {}, { authority });
    const options = { origin: upstream.origin, headersTimeout: HEADERS_MS };
    const followed = await follow(http1Dispatcher(t, authority), options).over();
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
  });

  test(`an informational answer is none in time, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send('HTTP/1.1 102 Processing\r\n\r\n'), {
      authority,
    });
    const options = { origin: upstream.origin, headersTimeout: HEADERS_MS };
    const followed = await follow(http1Dispatcher(t, authority), options).over();
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
  });

  test(`an answer whose head has come may take as long as it likes, by ${way}`, async (t) => {
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
    assert.deepEqual((await follow(dispatcher, options).over()).events, ['start', 'head 200', 'data', 'end']);
    await delay(LONG_MS);
    assert.deepEqual((await follow(dispatcher, options).over()).events, ['start', 'head 200', 'data', 'end']);
    assert.equal(upstream.connections.length, 1);
  });

  test(`the time for the head does not run while the content is waited for, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      (connection) => {
        connection.socket.on('data', () => {
          if (connection.received.endsWith('\r\n0\r\n\r\n')) connection.send(answerOf('hello'));
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
    const followed = await follow(http1Dispatcher(t, authority), options).over();
    assert.deepEqual(followed.events, ['start', 'head 200', 'data', 'end']);
  });

  test(`an upstream that has all of the content and does not answer fails its request, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, () => {}, { authority });
    async function* body(): AsyncGenerator<Buffer> {
      yield Buffer.from('hello');
    }
    const options = { origin: upstream.origin, method: 'POST', body: body(), headersTimeout: HEADERS_MS } as const;
    const followed = await follow(http1Dispatcher(t, authority), options).over();
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
  });

  test(`an upstream that takes no more of the content fails its request in time, and lets the content go, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, () => {}, { authority, isDeaf: true });
    let isReturned = false;
    async function* body(): AsyncGenerator<Buffer> {
      try {
        for (;;) yield Buffer.alloc(1 << 20);
      } finally {
        isReturned = true;
      }
    }
    const options = { origin: upstream.origin, method: 'POST', body: body(), headersTimeout: HEADERS_MS } as const;
    const followed = await follow(http1Dispatcher(t, authority), options).over();
    assert.deepEqual(followed.events, ['start', 'error HeadersTimeoutError']);
    await eventually('the content is let go', () => isReturned);
  });

  test(`an upstream that has answered may take the rest of the content as slowly as it likes, by ${way}`, async (t) => {
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
    const followed = await follow(http1Dispatcher(t, authority), options).over();
    assert.deepEqual(followed.events, ['start', 'head 200', 'data', 'end']);
  });
}

test('no time for the head is as much as it takes', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => {
    setTimeout(() => connection.send(answerOf('hello')), LONG_MS);
  });
  const dispatcher = http1Dispatcher(t);
  for (const headersTimeout of [0, undefined, null]) {
    const followed = await follow(dispatcher, {
      origin: upstream.origin,
      headersTimeout: headersTimeout as never,
    }).over();
    assert.deepEqual(followed.events, ['start', 'head 200', 'data', 'end']);
  }
});

test('a connection that takes too long to open fails its request', async (t) => {
  // One that takes connections and never greets by TLS.
  const upstream = await startBareUpstream(t);
  const dispatcher = http1Dispatcher(t, undefined, { timeout: 500 });
  const said: Error[] = [];
  dispatcher.on('connectionError', (_, __, error) => said.push(error));
  const followed = await follow(dispatcher, { origin: upstream.origin.replace('http:', 'https:') }).over();
  assert.deepEqual(followed.events, ['error ConnectTimeoutError']);
  assert.deepEqual(said, [followed.error]);
  await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
});

test('a certificate that nobody vouches for fails the request before its first byte', async (t) => {
  const authority = WAYS[1][1]();
  const upstream = await startBareUpstream(t, () => {}, { authority });
  const followed = await follow(http1Dispatcher(t), { origin: upstream.origin }).over();
  assert.equal(followed.events.length, 1);
  assert.equal((followed.error as NodeJS.ErrnoException).code, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE');
  assert.equal(upstream.connections[0]?.received ?? '', '');
});
