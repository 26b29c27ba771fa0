import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { keepAliveMs } from '../../../../src/transport/http1/response-reader.ts';
import {
  type BareConnection,
  link,
  OK,
  type OnRequest,
  responseOf,
  streamed,
  testWays,
} from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { type Followed, pauseFor, SERVED } from '../../../harness/followed.ts';

/** The sender may not know the coding, and keep a part of the content for the next response (RFC 9112 section 6.1). */
const CODED_AS_1_0 = 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n';

/** Responds with the target. The first response on each connection is sent by the test. */
function responding(
  first: (connection: BareConnection, response: string) => void = ({ send }, text) => send(text),
): OnRequest {
  const seen = new Set<BareConnection>();
  return (connection, headers) => {
    const response = responseOf(headers.split(' ')[1] as string);
    if (seen.has(connection)) connection.send(response);
    else first(connection, response);
    seen.add(connection);
  };
}

function assertOwn({ body, events }: Followed, path: string): void {
  assert.deepEqual([body, ...events], [path, ...SERVED]);
}

testWays('sends a request from onResponseEnd on the same connection', async (start) => {
  const { send, connections } = await start(responseOf('hello'));
  let left = 10;
  await new Promise<void>((resolve, reject) => {
    const next = (): void => {
      left -= 1;
      if (left === 0) resolve();
      else send({}, { onEnd: next, onError: (_, error) => reject(error) });
    };
    next();
  });
  assert.equal(connections.length, 1);
});

test('uses the most recently used idle connection', async (t) => {
  const used: number[] = [];
  const { send, connections } = await link(t, (connection) => used.push(connections.indexOf(connection)));
  const all = [send(), send(), send()];
  await eventually('all requests have arrived', () => used.length === 3);
  const respond = async (connection: number): Promise<void> => {
    const ended = (): number => all.filter(({ events }) => events.includes('end')).length;
    const before = ended();
    connections[connection]?.send(responseOf('hello'));
    await eventually('the end of the response', () => ended() === before + 1);
  };
  for (const connection of [0, 2, 1]) await respond(connection);
  for (const nth of [4, 5]) {
    all.push(send());
    await eventually('the next request has arrived', () => used.length === nth);
    await respond(1);
  }
  assert.deepEqual(used.slice(3), [1, 1]);
});

for (const [what, response] of [
  ['says Connection: close', responseOf('hello', `${OK}Connection: close\r\n`)],
  ['says Connection: x, Close', responseOf('hello', `${OK}Connection: x, Close\r\n`)],
  ['is of HTTP/1.0', responseOf('hello', 'HTTP/1.0 200 OK\r\n')],
  ['is of HTTP/1.0 and has a transfer coding', `${CODED_AS_1_0}5\r\nhello\r\n0\r\n\r\n`],
  ['allows one second of idle time', responseOf('hello', `${OK}Keep-Alive: timeout=1\r\n`)],
  [
    'says Connection: close in its trailers',
    `${OK}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nConnection: close\r\n\r\n`,
  ],
] as const) {
  test(`does not reuse a connection after a response that ${what}`, async (t) => {
    // No sweep closes the connection.
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { ask, connections } = await link(t, response);
    assert.equal((await ask()).body, 'hello');
    await eventually('the connection is closed', () => connections[0]?.hasEnded === true);
    await ask();
    assert.equal(connections.length, 2);
  });
}

test('reuses a connection of HTTP/1.0 with Connection: keep-alive', async (t) => {
  const { ask, connections } = await link(t, responseOf('hello', 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n'));
  for (let i = 0; i < 3; i += 1) await ask();
  assert.equal(connections.length, 1);
});

test('reuses a connection to an upstream that keeps connections for five seconds for three', async (t) => {
  const { ask, connections } = await link(t, responseOf('hello', `${OK}Keep-Alive: timeout=5\r\n`));
  let nowMs = 1_000_000;
  t.mock.method(performance, 'now', () => nowMs);
  for (const [passedMs, opened] of [
    [0, 1],
    [2_999, 1],
    [3_000, 2],
  ] as const) {
    nowMs += passedMs;
    // The limit of the wait is created with the real time.
    await nextTurn();
    await ask();
    await nextTurn();
    assert.equal(connections.length, opened);
  }
});

for (const [headers, ms, status = 200] of [
  [[], 4_000],
  [['Keep-Alive', 'timeout=5'], 3_000],
  [['keep-alive', 'timeout=5, max=100'], 3_000],
  [['KEEP-ALIVE', 'max=100, Timeout=65'], 63_000],
  [['X-A', 'timeout=9', 'Keep-Alive', 'timeout=5'], 3_000],
  [['Keep-Alive', 'timeout=2'], 0],
  [['Keep-Alive', 'timeout=0'], 0],
  [['Keep-Alive', 'timeout=99999999999999999999'], 598_000],
  [['Keep-Alive', 'max=100'], 4_000],
  [['Keep-Alive', ''], 4_000],
  [['Keep-Alive', 'timeout=soon'], 4_000],
  [['Keep-Alive', 'timeout=-5'], 4_000],
  [['Keep-Alive', 'notimeout=5'], 4_000],
  [['Keep-Alive', 'max=100', 'Keep-Alive', 'timeout=7'], 5_000],
  // A 204 or 304 that announces a body.
  ...[204, 304].flatMap(
    (status) =>
      [
        [['Content-Length', '5'], 0, status],
        [['Keep-Alive', 'timeout=5', 'Content-Length', '0'], 3_000, status],
        [[], 4_000, status],
      ] as const,
  ),
] as const) {
  test(`keeps an idle connection for ${ms} ms after a ${status} with the headers ${JSON.stringify(headers)}`, () => {
    assert.equal(keepAliveMs(status, headers), ms);
  });
}

for (const last of ['end', 'resetAndDestroy'] as const) {
  for (const isSeen of [true, false]) {
    test(`uses a new connection ${isSeen ? 'after' : 'while'} its upstream ${isSeen ? 'closed' : 'closes'} the idle one by ${last}`, async (t) => {
      const { ask, connections, closed } = await link(t, responding());
      await ask();
      await nextTurn();
      connections[0]?.socket[last]();
      if (isSeen) await closed();
      assert.deepEqual((await ask()).events, SERVED);
      assert.equal(connections.length, 2);
    });
  }
}

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n';

for (const [what, options] of [
  ['a GET with content', { method: 'GET', body: Buffer.from(SMUGGLED) }],
  ['a DELETE with content', { method: 'DELETE', body: Buffer.from(SMUGGLED) }],
  ['a GET with streamed content', { method: 'GET', body: streamed(SMUGGLED) }],
  ['a HEAD', { method: 'HEAD' }],
] as const) {
  test(`sends nothing after ${what} on the same connection, because servers disagree where it ends`, async (t) => {
    const { ask, connections, received } = await link(t, responseOf(''));
    await ask(options);
    await eventually('the connection is closed', () => connections[0]?.hasEnded === true);
    assert.match(received(), /\r\nconnection: close\r\n/);
    await ask();
    assert.equal(connections.length, 2);
  });
}

for (const [what, method, headers, late] of [
  ['a HEAD', 'HEAD', `${OK}Content-Length: 100\r\n\r\n`, responseOf('injected')],
  ['a 204 with a length', 'GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 100\r\n\r\n', responseOf('injected')],
  ['a 304 with a length', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n', responseOf('injected')],
  ['a 204 in chunks', 'GET', 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n', '0\r\n\r\n'],
  ['a 304 in chunks', 'GET', 'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n', '0\r\n\r\n'],
] as const) {
  for (const [when, delayMs] of [
    ['late', 20],
    ['immediate', undefined],
  ] as const) {
    test(`never reads a ${when} body of ${what} as the next response`, async (t) => {
      let isFirst = true;
      const { ask, connections } = await link(t, ({ send }) => {
        if (!isFirst) return send(responseOf('right'));
        isFirst = false;
        send(delayMs === undefined ? headers + late : headers);
        if (delayMs !== undefined) setTimeout(() => send(late), delayMs);
      });
      assert.deepEqual((await ask({ method })).events.at(-1), 'end');
      assert.equal((await ask()).body, 'right');
      assert.equal(connections.length, 2);
    });
  }
}

const UNEXPECTED = responseOf('unexpected');

for (const [what, more] of [
  ['another response', UNEXPECTED],
  ['the first byte of one', 'H'],
  ['a 408', responseOf('', 'HTTP/1.1 408 Request Timeout\r\n')],
  ['a byte that is not HTTP', '\0'],
] as const) {
  testWays(`closes a connection on which ${what} follows a response in the same packet`, async (start) => {
    const { send, connections, closed } = await start(responding((connection, text) => connection.send(text + more)));
    const all: Followed[] = [];
    all.push(send({ path: '/a' }, { onEnd: () => void all.push(send({ path: '/b' })) }));
    for (const path of ['/a', '/b']) assertOwn(await (all.shift() as Followed).ended(), path);
    await closed();
    assert.equal(connections.length, 2);
  });
}

for (const [phase, wait] of [
  ['the end of the response', undefined],
  ['a timer', (then: () => void) => setTimeout(then, 5)],
  ['an immediate', (then: () => void) => setImmediate(then)],
] as const) {
  testWays(`does not read bytes on an idle connection as the response to a request sent in ${phase}`, async (start) => {
    const { send, connections, closed } = await start(responding());
    const next = new Promise<Followed>((resolve) => {
      const sendNext = (): void => {
        connections[0]?.send(UNEXPECTED);
        resolve(send({ path: '/b' }));
      };
      const first = send({ path: '/a' }, wait === undefined ? { onEnd: sendNext } : {});
      void first.ended().then(() => wait?.(sendNext));
    });
    assertOwn(await (await next).ended(), '/b');
    await closed();
    assert.equal(connections.length, 2);
  });
}

testWays('closes a connection on which bytes follow a paused response', async (start) => {
  const { ask, closed } = await start(responding(({ send }, response) => send(response + UNEXPECTED)));
  assertOwn(await ask({ path: '/a' }, { onData: pauseFor(20) }), '/a');
  assertOwn(await ask({ path: '/b' }), '/b');
  await closed();
});
