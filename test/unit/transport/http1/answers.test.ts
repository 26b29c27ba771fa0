import assert from 'node:assert/strict';
import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { buildConnector } from 'undici';
import { answerOf, http1Dispatcher, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import type { CertificateAuthority } from '../../../harness/certificates.ts';
import { eventually, soon } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

/** How many listen to each event of a socket. */
function listeners(socket: EventEmitter): (string | number)[][] {
  const names = ['data', 'readable', 'end', 'error', 'close', 'drain', 'finish', 'timeout'];
  return names.map((name) => [name, socket.listenerCount(name)]);
}

/** A connection that nobody has used. */
function connected(origin: string, authority: CertificateAuthority | undefined): Promise<Socket> {
  const { protocol, hostname, host, port } = new URL(origin);
  const connect = buildConnector(authority === undefined ? {} : { ca: authority.cert });
  return new Promise((resolve, reject) => {
    connect({ protocol, hostname, host, port }, (error, socket) => (error === null ? resolve(socket) : reject(error)));
  });
}

const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-A: b\r\n\r\n';

for (const [way, tls] of WAYS) {
  for (const [what, method, answer, events] of [
    ['to HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', ['start', 'head 200', 'end']],
    [
      'to HEAD in chunks',
      'HEAD',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
      ['start', 'head 200', 'end'],
    ],
    ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n', ['start', 'head 204', 'end']],
    ['204 with a length', 'GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n', ['start', 'head 204', 'end']],
    [
      '304 with a length',
      'GET',
      'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
      ['start', 'head 304', 'end'],
    ],
    ['of length 0', 'GET', answerOf(''), ['start', 'head 200', 'end']],
    [
      'of no chunk',
      'GET',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      ['start', 'head 200', 'end'],
    ],
    [
      'after informational ones',
      'GET',
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: b\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${answerOf('hello')}`,
      ['start', 'head 200', 'data', 'end'],
    ],
    [
      'after informational ones that say that the connection ends',
      'GET',
      `HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\nHTTP/1.0 100 Continue\r\n\r\n${answerOf('hello')}`,
      ['start', 'head 200', 'data', 'end'],
    ],
  ] as const) {
    test(`an answer ${what} is whole, and the next request has its own, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, (connection) => connection.send(answer), { authority });
      const dispatcher = http1Dispatcher(t, authority);
      for (let i = 0; i < 3; i += 1) {
        const followed = await follow(dispatcher, { origin: upstream.origin, method }).over();
        assert.deepEqual(followed.events, events);
      }
    });
  }

  for (const [what, interim, answer, connections] of [
    ['stays where an informational answer has said that it ends', 'close', answerOf('hello'), 1],
    [
      'ends where the answer says so, whatever an informational one has said',
      'keep-alive',
      answerOf('hello', 'HTTP/1.1 200 OK\r\nConnection: close\r\n'),
      2,
    ],
  ] as const) {
    test(`a connection ${what}, by ${way}`, async (t) => {
      const authority = tls?.();
      const hints = `HTTP/1.1 103 Early Hints\r\nConnection: ${interim}\r\n\r\n`;
      const upstream = await startBareUpstream(t, (connection) => connection.send(hints + answer), { authority });
      const dispatcher = http1Dispatcher(t, authority);
      for (let i = 0; i < 2; i += 1) {
        assert.equal((await follow(dispatcher, { origin: upstream.origin }).over()).body, 'hello');
      }
      assert.equal(upstream.connections.length, connections);
    });
  }

  for (const [what, answer] of [
    ['has taken another protocol, unasked', SWITCH],
    ['sends no HTTP', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['sends a head that is too large', `HTTP/1.1 200 OK\r\nA: ${'b'.repeat(70_000)}\r\n\r\n`],
  ] as const) {
    test(`a request to an upstream that ${what} fails, once, and its connection ends, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, (connection) => connection.send(answer), { authority });
      const followed = await follow(http1Dispatcher(t, authority), { origin: upstream.origin }).over();
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.equal(followed.events.length, 2);
      assert.match(followed.events.join(), /^start,error (SocketError|HTTPParserError|HeadersOverflowError)$/);
    });
  }

  for (const [what, last] of [
    ['ends', 'end'],
    ['breaks off', 'resetAndDestroy'],
  ] as const) {
    for (const [where, bytes, events] of [
      ['before the head', '', ['start', 'error']],
      ['in the head', 'HTTP/1.1 200 OK\r\nA: b', ['start', 'error']],
      ['after an informational answer', 'HTTP/1.1 100 Continue\r\n\r\n', ['start', 'error']],
      ['in the body', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello', ['start', 'head 200', 'data', 'error']],
    ] as const) {
      test(`a request fails, once, whose connection ${what} ${where}, by ${way}`, async (t) => {
        const authority = tls?.();
        const upstream = await startBareUpstream(
          t,
          ({ socket }) => {
            if (bytes !== '') socket.write(bytes);
            setTimeout(() => (last === 'end' || tls !== undefined ? socket.end() : socket.resetAndDestroy()), 20);
          },
          { authority },
        );
        const followed = await follow(http1Dispatcher(t, authority), { origin: upstream.origin }).over();
        assert.deepEqual(
          followed.events.map((event) => event.replace(/^error .*/, 'error')),
          events,
        );
      });
    }
  }

  test(`an upstream that takes the protocol asked for has its connection handed over, with what came behind, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(`${SWITCH}HTTP/1.1 first`), {
      authority,
    });
    const dispatcher = http1Dispatcher(t, authority);
    const followed = await follow(dispatcher, { origin: upstream.origin, upgrade: 'echo' }).over();
    assert.deepEqual(followed.events, ['start', 'upgrade 101']);
    assert.deepEqual(followed.rawHeaders.slice(-2), ['X-A', 'b']);
    assert.match(upstream.connections[0]?.received ?? '', /\r\nconnection: upgrade\r\nupgrade: echo\r\n/);
    const { socket } = followed;
    assert.ok(socket);
    assert.deepEqual(listeners(socket), listeners(await connected(upstream.origin, authority)));
    let came = '';
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      came += text;
    });
    socket.resume();
    await eventually('what came behind', () => came === 'HTTP/1.1 first');
    upstream.connections[0]?.send('second');
    await eventually('the next', () => came === 'HTTP/1.1 firstsecond');
    socket.write('third');
    await eventually('ours', () => upstream.connections[0]?.received.endsWith('third') === true);
    await dispatcher.close();
    await dispatcher.destroy();
    assert.equal(socket.destroyed, false);
    upstream.connections[0]?.socket.end();
    await soon('it ends as any other does', new Promise((resolve) => socket.once('close', resolve)));
    assert.deepEqual(followed.events, ['start', 'upgrade 101']);
  });

  test(`an upstream that does not take the protocol asked for answers, and its connection serves nobody else, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('no')), { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const followed = await follow(dispatcher, { origin: upstream.origin, upgrade: 'echo' }).over();
    assert.deepEqual([followed.body, ...followed.events], ['no', 'start', 'head 200', 'data', 'end']);
    await eventually('it is closed', () => upstream.connections[0]?.isClosed === true);
  });
}

test('a request for another protocol does not go out on a free connection', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('no')));
  const dispatcher = http1Dispatcher(t);
  await follow(dispatcher, { origin: upstream.origin }).over();
  await follow(dispatcher, { origin: upstream.origin, upgrade: 'echo' }).over();
  await follow(dispatcher, { origin: upstream.origin }).over();
  assert.deepEqual(
    upstream.connections.map(({ received }) => received.split('GET ').length - 1),
    [2, 1],
  );
});

test('a handler that gives up, or throws, as the connection is handed over ends it and nothing else', async (t) => {
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
  await followed.over();
  await eventually('it is closed', () => upstream.connections[0]?.isClosed === true);
  assert.deepEqual(followed.events, ['start', 'upgrade 101']);
  const given = follow(
    dispatcher,
    { origin: upstream.origin, upgrade: 'echo' },
    { onStart: (controller) => controller.abort(new Error('enough')) },
  );
  await given.over();
  await eventually('it is closed, too', () => upstream.connections[1]?.isClosed === true);
  assert.deepEqual(given.events, ['start', 'error Error']);
});

test('values of one name are an array, a name is its lower case, and bytes stay as they are', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nX-Name: caf\xc3\xa9\r\n__proto__: c\r\n';
  const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('', head)));
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

test('a connection that cannot be opened fails its request, and the dispatcher says so', async (t) => {
  const dispatcher = http1Dispatcher(t);
  const said: unknown[] = [];
  dispatcher.on('connectionError', (origin, targets, error) => said.push(origin.href, targets, error));
  const free = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')));
  const refused = follow(dispatcher, { origin: 'http://127.0.0.1:1' });
  const served = follow(dispatcher, { origin: free.origin });
  await refused.over();
  assert.deepEqual((await served.over()).events, ['start', 'head 200', 'data', 'end']);
  assert.deepEqual(refused.events, ['error Error']);
  assert.deepEqual(said, ['http://127.0.0.1:1/', [dispatcher], refused.error]);
  assert.equal((refused.error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
});
