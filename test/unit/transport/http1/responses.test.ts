import assert from 'node:assert/strict';
import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { buildConnector } from 'undici';
import { http1Dispatcher, responseOf, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import type { CertificateAuthority } from '../../../harness/certificates.ts';
import { eventually, soon } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

/** The number of listeners for each event of a socket. */
function listeners(socket: EventEmitter): (string | number)[][] {
  const names = ['data', 'readable', 'end', 'error', 'close', 'drain', 'finish', 'timeout'];
  return names.map((name) => [name, socket.listenerCount(name)]);
}

/** A new connection. */
function connected(origin: string, authority: CertificateAuthority | undefined): Promise<Socket> {
  const { protocol, hostname, host, port } = new URL(origin);
  const connect = buildConnector(authority === undefined ? {} : { ca: authority.cert });
  return new Promise((resolve, reject) => {
    connect({ protocol, hostname, host, port }, (error, socket) => (error === null ? resolve(socket) : reject(error)));
  });
}

const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-A: b\r\n\r\n';

for (const [way, tls] of WAYS) {
  for (const [what, method, response, events] of [
    ['to HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', ['start', 'response 200', 'end']],
    [
      'to HEAD in chunks',
      'HEAD',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      ['start', 'response 200', 'end'],
    ],
    ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n', ['start', 'response 204', 'end']],
    [
      '204 with a length',
      'GET',
      'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n',
      ['start', 'response 204', 'end'],
    ],
    [
      '304 with a length',
      'GET',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
      ['start', 'response 304', 'end'],
    ],
    ['with length 0', 'GET', responseOf(''), ['start', 'response 200', 'end']],
    [
      'without chunks',
      'GET',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      ['start', 'response 200', 'end'],
    ],
    [
      'after interim responses',
      'GET',
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: b\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${responseOf('hello')}`,
      ['start', 'response 200', 'data', 'end'],
    ],
    [
      'after interim responses with Connection: close',
      'GET',
      `HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\nHTTP/1.0 100 Continue\r\n\r\n${responseOf('hello')}`,
      ['start', 'response 200', 'data', 'end'],
    ],
  ] as const) {
    test(`completes a response ${what}, and the next request gets its own, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, (connection) => connection.send(response), { authority });
      const dispatcher = http1Dispatcher(t, authority);
      for (let i = 0; i < 3; i += 1) {
        const followed = await follow(dispatcher, { origin: upstream.origin, method }).ended();
        assert.deepEqual(followed.events, events);
      }
    });
  }

  for (const [what, interim, response, connections] of [
    ['keeps a connection after an interim response with Connection: close', 'close', responseOf('hello'), 1],
    [
      'closes a connection after a response with Connection: close, whatever an interim response says',
      'keep-alive',
      responseOf('hello', 'HTTP/1.1 200 OK\r\nConnection: close\r\n'),
      2,
    ],
  ] as const) {
    test(`${what}, over ${way}`, async (t) => {
      const authority = tls?.();
      const hints = `HTTP/1.1 103 Early Hints\r\nConnection: ${interim}\r\n\r\n`;
      const upstream = await startBareUpstream(t, (connection) => connection.send(hints + response), { authority });
      const dispatcher = http1Dispatcher(t, authority);
      for (let i = 0; i < 2; i += 1) {
        assert.equal((await follow(dispatcher, { origin: upstream.origin }).ended()).body, 'hello');
      }
      assert.equal(upstream.connections.length, connections);
    });
  }

  for (const [what, response] of [
    ['switches protocols without being asked', SWITCH],
    ['does not speak HTTP', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['sends too long headers', `HTTP/1.1 200 OK\r\nA: ${'b'.repeat(70_000)}\r\n\r\n`],
  ] as const) {
    test(`fails a request once and closes its connection when the upstream ${what}, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, (connection) => connection.send(response), { authority });
      const followed = await follow(http1Dispatcher(t, authority), { origin: upstream.origin }).ended();
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.equal(followed.events.length, 2);
      assert.match(followed.events.join(), /^start,error (SocketError|HTTPParserError|HeadersOverflowError)$/);
    });
  }

  for (const [what, last] of [
    ['ends', 'end'],
    ['is reset', 'resetAndDestroy'],
  ] as const) {
    for (const [where, bytes, events] of [
      ['before the headers', '', ['start', 'error']],
      ['in the headers', 'HTTP/1.1 200 OK\r\nA: b', ['start', 'error']],
      ['after an interim response', 'HTTP/1.1 100 Continue\r\n\r\n', ['start', 'error']],
      ['in the body', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello', ['start', 'response 200', 'data', 'error']],
    ] as const) {
      test(`fails a request once when its connection ${what} ${where}, over ${way}`, async (t) => {
        const authority = tls?.();
        const upstream = await startBareUpstream(
          t,
          ({ socket }) => {
            if (bytes !== '') socket.write(bytes);
            setTimeout(() => (last === 'end' || tls !== undefined ? socket.end() : socket.resetAndDestroy()), 20);
          },
          { authority },
        );
        const followed = await follow(http1Dispatcher(t, authority), { origin: upstream.origin }).ended();
        assert.deepEqual(
          followed.events.map((event) => event.replace(/^error .*/, 'error')),
          events,
        );
      });
    }
  }

  test(`hands over the connection and the bytes behind the headers after a 101, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(`${SWITCH}HTTP/1.1 first`), {
      authority,
    });
    const dispatcher = http1Dispatcher(t, authority);
    const followed = await follow(dispatcher, { origin: upstream.origin, upgrade: 'echo' }).ended();
    assert.deepEqual(followed.events, ['start', 'upgrade 101']);
    assert.deepEqual(followed.rawHeaders.slice(-2), ['X-A', 'b']);
    assert.match(upstream.connections[0]?.received ?? '', /\r\nconnection: upgrade\r\nupgrade: echo\r\n/);
    const { socket } = followed;
    assert.ok(socket);
    assert.deepEqual(listeners(socket), listeners(await connected(upstream.origin, authority)));
    let received = '';
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      received += text;
    });
    socket.resume();
    await eventually('the bytes behind the headers', () => received === 'HTTP/1.1 first');
    upstream.connections[0]?.send('second');
    await eventually('the next bytes', () => received === 'HTTP/1.1 firstsecond');
    socket.write('third');
    await eventually('our bytes', () => upstream.connections[0]?.received.endsWith('third') === true);
    await dispatcher.close();
    await dispatcher.destroy();
    assert.equal(socket.destroyed, false);
    upstream.connections[0]?.socket.end();
    await soon('the close of the socket', new Promise((resolve) => socket.once('close', resolve)));
    assert.deepEqual(followed.events, ['start', 'upgrade 101']);
  });

  test(`passes on the response of an upstream that does not switch, and closes the connection, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('no')), { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const followed = await follow(dispatcher, { origin: upstream.origin, upgrade: 'echo' }).ended();
    assert.deepEqual([followed.body, ...followed.events], ['no', 'start', 'response 200', 'data', 'end']);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
  });
}

test('sends an upgrade request on a new connection', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('no')));
  const dispatcher = http1Dispatcher(t);
  await follow(dispatcher, { origin: upstream.origin }).ended();
  await follow(dispatcher, { origin: upstream.origin, upgrade: 'echo' }).ended();
  await follow(dispatcher, { origin: upstream.origin }).ended();
  assert.deepEqual(
    upstream.connections.map(({ received }) => received.split('GET ').length - 1),
    [2, 1],
  );
});

test('closes only the connection when a handler throws in onRequestUpgrade, or aborts the upgrade', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(SWITCH));
  const dispatcher = http1Dispatcher(t);
  const followed = follow(
    dispatcher,
    { origin: upstream.origin, upgrade: 'echo' },
    {
      onUpgrade() {
        throw new Error('enough');
      },
    },
  );
  await followed.ended();
  await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
  assert.deepEqual(followed.events, ['start', 'upgrade 101']);
  const aborted = follow(
    dispatcher,
    { origin: upstream.origin, upgrade: 'echo' },
    { onStart: (controller) => controller.abort(new Error('enough')) },
  );
  await aborted.ended();
  await eventually('the other connection is closed', () => upstream.connections[1]?.isClosed === true);
  assert.deepEqual(aborted.events, ['start', 'error Error']);
});

test('groups repeated headers, lower-cases names, and keeps bytes as they are', async (t) => {
  const responseHeaders =
    'HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nX-Name: caf\xc3\xa9\r\n__proto__: c\r\n';
  const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('', responseHeaders)));
  const headers = await new Promise<object>((resolve, reject) => {
    http1Dispatcher(t).dispatch(
      { origin: upstream.origin, path: '/', method: 'GET' },
      {
        onRequestStart() {},
        onResponseStart: (_, __, headers) => resolve(headers),
        onResponseError: (_, error) => reject(error),
      },
    );
  });
  assert.deepEqual(Object.entries(headers), [
    ['set-cookie', ['a', 'b']],
    ['x-name', 'caf\xc3\xa9'],
    ['__proto__', 'c'],
    ['content-length', '0'],
  ]);
});

test('fails only the request whose connection fails, and emits connectionError', async (t) => {
  const dispatcher = http1Dispatcher(t);
  const emitted: unknown[] = [];
  dispatcher.on('connectionError', (origin, targets, error) => emitted.push(origin.href, targets, error));
  const healthy = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')));
  const refused = follow(dispatcher, { origin: 'http://127.0.0.1:1' });
  const served = follow(dispatcher, { origin: healthy.origin });
  await refused.ended();
  assert.deepEqual((await served.ended()).events, ['start', 'response 200', 'data', 'end']);
  assert.deepEqual(refused.events, ['error Error']);
  assert.deepEqual(emitted, ['http://127.0.0.1:1/', [dispatcher], refused.error]);
  assert.equal((refused.error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
});
