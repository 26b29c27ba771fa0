import assert from 'node:assert/strict';
import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { buildConnector } from 'undici';
import { ARRIVED_MS, link, OK, responseOf, testWays } from '../../../harness/bare-upstream.ts';
import { eventually, soon } from '../../../harness/eventually.ts';
import { abort, pauseFor, SERVED, throwIt } from '../../../harness/followed.ts';
import { rawConnection } from '../../../harness/http-call.ts';

/** The number of listeners for each event of a socket. */
function listeners(socket: EventEmitter): (string | number)[][] {
  const names = ['data', 'readable', 'end', 'error', 'close', 'drain', 'finish', 'timeout'];
  return names.map((name) => [name, socket.listenerCount(name)]);
}

/** A new connection. */
function connected(origin: string): Promise<Socket> {
  const { protocol, hostname, host, port } = new URL(origin);
  const connect = buildConnector({ rejectUnauthorized: false });
  return new Promise((resolve, reject) => {
    connect({ protocol, hostname, host, port }, (error, socket) => (error === null ? resolve(socket) : reject(error)));
  });
}

const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-A: b\r\n\r\n';
const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';
const hints = (connection: string) => `HTTP/1.1 103 Early Hints\r\nConnection: ${connection}\r\n\r\n`;
const INTERIM = `${CONTINUE}HTTP/1.1 102 Processing\r\nA: b\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n`;
const CLOSING_INTERIM = `${hints('close')}HTTP/1.0 100 Continue\r\n\r\n`;

for (const [what, method, response, status, body = ''] of [
  ['to HEAD', 'HEAD', `${OK}Content-Length: 5\r\n\r\n`, 200],
  ['to HEAD in chunks', 'HEAD', `${OK}Transfer-Encoding: chunked\r\n\r\n`, 200],
  ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n', 204],
  ['204 with a length', 'GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n', 204],
  ['304 with a length', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n', 304],
  ['with length 0', 'GET', responseOf(''), 200],
  ['without chunks', 'GET', `${OK}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 200],
  ['after interim responses', 'GET', INTERIM + responseOf('hello'), 200, 'hello'],
  ['after interim responses that close', 'GET', CLOSING_INTERIM + responseOf('hello'), 200, 'hello'],
] as const) {
  testWays(`completes a response ${what}, and the next request gets its own`, async (start) => {
    const { ask } = await start(response);
    for (let i = 0; i < 3; i += 1) {
      const followed = await ask({ method });
      assert.deepEqual(followed.events, ['start', `response ${status}`, ...(body === '' ? [] : ['data']), 'end']);
      assert.equal(followed.body, body);
    }
  });
}

for (const [what, response, count] of [
  ['keeps a connection after an interim response with Connection: close', hints('close') + responseOf('hello'), 1],
  [
    'closes a connection after a response with Connection: close, whatever an interim response says',
    hints('keep-alive') + responseOf('hello', `${OK}Connection: close\r\n`),
    2,
  ],
] as const) {
  testWays(what, async (start) => {
    const { ask, connections } = await start(response);
    for (let i = 0; i < 2; i += 1) assert.equal((await ask()).body, 'hello');
    assert.equal(connections.length, count);
  });
}

for (const [what, response, error] of [
  ['switches protocols without being asked', SWITCH, 'SocketError'],
  ['does not speak HTTP', 'SSH-2.0-secret\r\n', 'HTTPParserError'],
  ['sends too long headers', `${OK}A: ${'b'.repeat(70_000)}\r\n\r\n`, 'HeadersOverflowError'],
] as const) {
  testWays(`fails a request once and closes its connection when the upstream ${what}`, async (start) => {
    const { ask, closed } = await start(response);
    const followed = await ask();
    await closed();
    assert.deepEqual(followed.events, ['start', `error ${error}`]);
    if (error !== 'HTTPParserError') return;
    // The reason and the code of the parser, and no byte of the response.
    assert.match(String(followed.error), /malformed HTTP\/1\.1 response: expected HTTP\//);
    assert.equal((followed.error as NodeJS.ErrnoException).code, 'HPE_INVALID_CONSTANT');
    assert.doesNotMatch(String(followed.error), /secret/);
  });
}

for (const [what, last] of [
  ['ends', 'end'],
  ['is reset', 'resetAndDestroy'],
] as const) {
  for (const [where, bytes, events] of [
    ['before the headers', '', ['start', 'error']],
    ['in the headers', `${OK}A: b`, ['start', 'error']],
    ['after an interim response', CONTINUE, ['start', 'error']],
    ['in the body', `${OK}Content-Length: 9\r\n\r\nhello`, ['start', 'response 200', 'data', 'error']],
  ] as const) {
    testWays(`fails a request once when its connection ${what} ${where}`, async (start) => {
      const { ask } = await start(({ socket }) => {
        if (bytes !== '') socket.write(bytes);
        // A connection over TLS cannot be reset. A reset drops bytes that were not read yet.
        setTimeout(() => ('encrypted' in socket ? socket.end() : socket[last]()), 5 * ARRIVED_MS);
      });
      const { events: seen } = await ask();
      assert.deepEqual(
        seen.map((event) => event.replace(/^error .*/, 'error')),
        events,
      );
    });
  }
}

testWays('hands over the connection and the bytes behind the headers after a 101', async (start) => {
  const { ask, origin, connections, received, dispatcher } = await start(`${SWITCH}HTTP/1.1 first`);
  const followed = await ask({ upgrade: 'echo' });
  assert.deepEqual(followed.events, ['start', 'upgrade 101']);
  assert.deepEqual(followed.rawHeaders.slice(-2), ['X-A', 'b']);
  assert.match(received(), /\r\nconnection: upgrade\r\nupgrade: echo\r\n/);
  const { socket } = followed;
  assert.ok(socket);
  assert.deepEqual(listeners(socket), listeners(await connected(origin)));
  const raw = rawConnection(socket as Socket);
  socket.resume();
  await raw.until(/^HTTP\/1\.1 first$/);
  connections[0]?.send('second');
  await raw.until(/^HTTP\/1\.1 firstsecond$/);
  socket.write('third');
  await eventually('our bytes', () => received().endsWith('third'));
  await dispatcher.close();
  await dispatcher.destroy();
  assert.equal(socket.destroyed, false);
  connections[0]?.socket.end();
  await soon('the close of the socket', raw.closed());
  assert.deepEqual(followed.events, ['start', 'upgrade 101']);
});

testWays('hands over a connection that ended while paused, with all bytes before its end', async (start) => {
  const { ask } = await start(({ send, socket }) => {
    send(`${SWITCH}first`);
    socket.end();
  });
  const { events, socket } = await ask({ upgrade: 'echo' }, { onStart: pauseFor(ARRIVED_MS) });
  await delay(ARRIVED_MS);
  assert.deepEqual([events, socket?.destroyed], [['start', 'upgrade 101'], false]);
  assert.equal(await soon('the end', text(socket as Duplex)), 'first');
});

testWays('fails a request and sends nothing more when the upstream switches protocols too early', async (start) => {
  const { ask, connections, received, closed } = await start(SWITCH);
  async function* body() {
    yield Buffer.from('begun');
    await eventually('the connection is half closed', () => connections[0]?.hasEnded === true);
    yield Buffer.from('late');
  }
  const { events } = await ask({ method: 'POST', upgrade: 'echo', body: body() });
  assert.deepEqual(events, ['start', 'error SocketError']);
  await closed();
  assert.doesNotMatch(received(), /late/);
});

testWays('sends an upgrade on a new connection, and closes it unless the upstream switches', async (start) => {
  const { ask, connections, closed } = await start(responseOf('no'));
  for (const upgrade of [null, 'echo', null]) {
    const { body, events } = await ask({ upgrade });
    assert.deepEqual([body, ...events], ['no', ...SERVED]);
  }
  assert.deepEqual(
    connections.map(({ received }) => received.split('GET ').length - 1),
    [2, 1],
  );
  await closed(1);
});

test('closes only the connection when a handler throws in onRequestUpgrade, or aborts the upgrade', async (t) => {
  const { ask, closed } = await link(t, SWITCH);
  const threw = await ask({ upgrade: 'echo' }, { onUpgrade: throwIt });
  await closed();
  assert.deepEqual(threw.events, ['start', 'upgrade 101']);
  const aborted = await ask({ upgrade: 'echo' }, { onStart: abort });
  await closed(1);
  assert.deepEqual(aborted.events, ['start', 'error Enough']);
});

test('groups repeated headers, lower-cases names, and keeps bytes as they are', async (t) => {
  const lines = 'Set-Cookie: a\r\nset-cookie: b\r\nX-Name: caf\xc3\xa9\r\n__proto__: c\r\n';
  const { origin, dispatcher } = await link(t, responseOf('', OK + lines));
  const headers = await new Promise<object>((resolve, reject) => {
    dispatcher.dispatch(
      { origin, path: '/', method: 'GET' },
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
