import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepAliveMs } from '../../../../src/transport/http1/connection.ts';
import {
  type BareConnection,
  http1Dispatcher,
  responseOf,
  startBareUpstream,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

/** The sender may not know the coding, and keep a part of the content for the next response (RFC 9112 section 6.1). */
const CODED_AS_1_0 = 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n';

/** Waits for the next turn of the event loop, when all input was read. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function respondWithPath(connection: BareConnection, headers: string): void {
  connection.send(responseOf(headers.split(' ')[1] as string));
}

for (const [way, tls] of WAYS) {
  test(`sends consecutive requests on one connection, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, respondWithPath, { authority });
    const dispatcher = http1Dispatcher(t, authority);
    for (const path of ['/a', '/b', '/c']) {
      const { body, events } = await follow(dispatcher, { origin: upstream.origin, path }).ended();
      assert.equal(body, path);
      assert.deepEqual(events, ['start', 'response 200', 'data', 'end']);
    }
    assert.equal(upstream.connections.length, 1);
  });

  test(`sends a request from onResponseEnd on the same connection, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')), { authority });
    const dispatcher = http1Dispatcher(t, authority);
    let left = 10;
    await new Promise<void>((resolve, reject) => {
      const next = (): void => {
        left -= 1;
        if (left === 0) resolve();
        else follow(dispatcher, { origin: upstream.origin }, { onEnd: next, onError: (_, error) => reject(error) });
      };
      next();
    });
    assert.equal(upstream.connections.length, 1);
  });
}

test('uses the most recently used idle connection', async (t) => {
  const used: number[] = [];
  const upstream = await startBareUpstream(t, (connection) => used.push(upstream.connections.indexOf(connection)));
  const dispatcher = http1Dispatcher(t);
  const request = { origin: upstream.origin };
  const three = [follow(dispatcher, request), follow(dispatcher, request), follow(dispatcher, request)];
  await eventually('all requests have arrived', () => used.length === 3);
  const respond = async (connection: number): Promise<void> => {
    const ended = (): number => three.filter(({ events }) => events.includes('end')).length;
    const before = ended();
    upstream.connections[connection]?.send(responseOf('hello'));
    await eventually('the end of the response', () => ended() === before + 1);
  };
  for (const connection of [0, 2, 1]) await respond(connection);
  for (const nth of [4, 5]) {
    three.push(follow(dispatcher, request));
    await eventually('the next request has arrived', () => used.length === nth);
    await respond(1);
  }
  assert.deepEqual(used.slice(3), [1, 1]);
});

for (const [what, response] of [
  ['says Connection: close', responseOf('hello', 'HTTP/1.1 200 OK\r\nConnection: close\r\n')],
  ['says Connection: x, Close', responseOf('hello', 'HTTP/1.1 200 OK\r\nConnection: x, Close\r\n')],
  ['is of HTTP/1.0', responseOf('hello', 'HTTP/1.0 200 OK\r\n')],
  ['is of HTTP/1.0 and has a transfer coding', `${CODED_AS_1_0}5\r\nhello\r\n0\r\n\r\n`],
  ['allows one second of idle time', responseOf('hello', 'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\n')],
  ['allows no more idle time than the margin', responseOf('hello', 'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\n')],
] as const) {
  test(`does not reuse a connection after a response that ${what}`, async (t) => {
    // No sweep closes the connection.
    t.mock.timers.enable({ apis: ['setInterval'] });
    const upstream = await startBareUpstream(t, (connection) => connection.send(response));
    const dispatcher = http1Dispatcher(t);
    const { body } = await follow(dispatcher, { origin: upstream.origin }).ended();
    assert.equal(body, 'hello');
    await eventually('the connection is closed', () => upstream.connections[0]?.hasEnded === true);
    await follow(dispatcher, { origin: upstream.origin }).ended();
    assert.equal(upstream.connections.length, 2);
  });
}

test('reuses a connection of HTTP/1.0 with Connection: keep-alive', async (t) => {
  const response = responseOf('hello', 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n');
  const upstream = await startBareUpstream(t, (connection) => connection.send(response));
  const dispatcher = http1Dispatcher(t);
  for (let i = 0; i < 3; i += 1) await follow(dispatcher, { origin: upstream.origin }).ended();
  assert.equal(upstream.connections.length, 1);
});

for (const [what, hint, usedMs] of [
  ['that does not say how long it keeps connections', '', 4_000],
  ['that keeps connections for five seconds', 'Keep-Alive: timeout=5\r\n', 3_000],
  ['that keeps connections for hours', 'Keep-Alive: timeout=36000, max=5\r\n', 598_000],
] as const) {
  test(`reuses a connection to an upstream ${what} for ${usedMs} ms`, async (t) => {
    const upstream = await startBareUpstream(t, (connection) => {
      connection.send(responseOf('hello', `HTTP/1.1 200 OK\r\n${hint}`));
    });
    const dispatcher = http1Dispatcher(t);
    let nowMs = 1_000_000;
    t.mock.method(performance, 'now', () => nowMs);
    const request = (): Promise<unknown> => {
      const followed = follow(dispatcher, { origin: upstream.origin });
      return new Promise((resolve) => setImmediate(() => resolve(followed.ended())));
    };
    await request();
    await turn();
    nowMs += usedMs - 1;
    await request();
    await turn();
    assert.equal(upstream.connections.length, 1);
    nowMs += usedMs;
    await request();
    assert.equal(upstream.connections.length, 2);
  });
}

for (const last of ['end', 'resetAndDestroy'] as const) {
  test(`does not reuse an idle connection that its upstream closed by ${last}`, async (t) => {
    const upstream = await startBareUpstream(t, respondWithPath);
    const dispatcher = http1Dispatcher(t);
    await follow(dispatcher, { origin: upstream.origin }).ended();
    upstream.connections[0]?.socket[last]();
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
    const { events } = await follow(dispatcher, { origin: upstream.origin }).ended();
    assert.deepEqual(events, ['start', 'response 200', 'data', 'end']);
    assert.equal(upstream.connections.length, 2);
  });

  test(`sends a request on a new connection while its upstream closes the idle one by ${last}`, async (t) => {
    const upstream = await startBareUpstream(t, respondWithPath);
    const dispatcher = http1Dispatcher(t);
    await follow(dispatcher, { origin: upstream.origin }).ended();
    await turn();
    upstream.connections[0]?.socket[last]();
    const { events } = await follow(dispatcher, { origin: upstream.origin }).ended();
    assert.deepEqual(events, ['start', 'response 200', 'data', 'end']);
    assert.equal(upstream.connections.length, 2);
  });
}

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n';

async function* pieces(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}

for (const [what, options] of [
  ['a GET with content', { method: 'GET', body: Buffer.from(SMUGGLED) }],
  ['a DELETE with content', { method: 'DELETE', body: Buffer.from(SMUGGLED) }],
  ['a GET with streamed content', { method: 'GET', body: pieces(SMUGGLED) }],
  ['a HEAD', { method: 'HEAD' }],
] as const) {
  test(`sends nothing after ${what} on the same connection, because servers disagree where it ends`, async (t) => {
    const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('')));
    const dispatcher = http1Dispatcher(t);
    await follow(dispatcher, { origin: upstream.origin, ...options }).ended();
    await eventually('the connection is closed', () => upstream.connections[0]?.hasEnded === true);
    assert.match(upstream.connections[0]?.received ?? '', /\r\nconnection: close\r\n/);
    await follow(dispatcher, { origin: upstream.origin }).ended();
    assert.equal(upstream.connections.length, 2);
  });
}

for (const [what, method, headers] of [
  ['a HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n'],
  ['a 204 with a length', 'GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 100\r\n\r\n'],
  ['a 304 with a length', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n'],
] as const) {
  test(`never reads a late body of ${what} as the next response`, async (t) => {
    let isFirst = true;
    const upstream = await startBareUpstream(t, (connection) => {
      connection.send(isFirst ? headers : responseOf('right'));
      if (isFirst) setTimeout(() => connection.send(responseOf('injected')), 20);
      isFirst = false;
    });
    const dispatcher = http1Dispatcher(t);
    assert.deepEqual((await follow(dispatcher, { origin: upstream.origin, method }).ended()).events.at(-1), 'end');
    assert.equal((await follow(dispatcher, { origin: upstream.origin }).ended()).body, 'right');
  });
}

for (const [what, chunked] of [
  ['a 204', 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ['a 304', 'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n'],
] as const) {
  test(`fails no other request when a last chunk follows ${what}`, async (t) => {
    let isFirst = true;
    const upstream = await startBareUpstream(t, (connection) => {
      connection.send(isFirst ? chunked : responseOf('right'));
      if (isFirst) setTimeout(() => connection.send('0\r\n\r\n'), 20);
      isFirst = false;
    });
    const dispatcher = http1Dispatcher(t);
    await follow(dispatcher, { origin: upstream.origin }).ended();
    assert.equal((await follow(dispatcher, { origin: upstream.origin }).ended()).body, 'right');
    assert.equal(upstream.connections.length, 2);
  });
}

test('does not reuse a connection whose trailers say Connection: close', async (t) => {
  const closing = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nConnection: close\r\n\r\n';
  const upstream = await startBareUpstream(t, (connection) => connection.send(closing));
  const dispatcher = http1Dispatcher(t);
  for (let i = 0; i < 2; i += 1) {
    assert.equal((await follow(dispatcher, { origin: upstream.origin }).ended()).body, 'hi');
  }
  assert.equal(upstream.connections.length, 2);
});

test('fails with the reason and code of the parser, and with no byte of the response', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send('SSH-2.0-secret\r\n\r\n'));
  const { error } = await follow(http1Dispatcher(t), { origin: upstream.origin }).ended();
  assert.match(String(error), /malformed HTTP\/1\.1 response: expected HTTP\//);
  assert.equal((error as NodeJS.ErrnoException).code, 'HPE_INVALID_CONSTANT');
  assert.doesNotMatch(String(error), /secret/);
});

for (const [way, tls] of WAYS) {
  test(`reuses connections for callers that send one request after another, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')), { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const caller = async (): Promise<void> => {
      for (let i = 0; i < 40; i += 1) {
        assert.equal((await follow(dispatcher, { origin: upstream.origin }).ended()).body, 'hello');
      }
    };
    await Promise.all(Array.from({ length: 16 }, caller));
    assert.ok(upstream.connections.length <= 4 * 16, String(upstream.connections.length));
  });
}

for (const [headers, ms] of [
  [[], 4_000],
  [['Keep-Alive', 'timeout=5'], 3_000],
  [['keep-alive', 'timeout=5, max=100'], 3_000],
  [['KEEP-ALIVE', 'max=100, Timeout=65'], 63_000],
  [['X-A', 'timeout=9', 'Keep-Alive', 'timeout=5'], 3_000],
  [['Keep-Alive', 'timeout=1'], 0],
  [['Keep-Alive', 'timeout=0'], 0],
  [['Keep-Alive', 'timeout=99999999999999999999'], 598_000],
  [['Keep-Alive', 'max=100'], 4_000],
  [['Keep-Alive', ''], 4_000],
  [['Keep-Alive', 'timeout=soon'], 4_000],
  [['Keep-Alive', 'timeout=-5'], 4_000],
  [['Keep-Alive', 'notimeout=5'], 4_000],
  [['Keep-Alive', 'max=100', 'Keep-Alive', 'timeout=7'], 5_000],
] as const) {
  test(`keeps an idle connection for ${ms} ms after the headers ${JSON.stringify(headers)}`, () => {
    assert.equal(keepAliveMs(200, headers), ms);
  });
}

test('does not reuse a connection after a 204 or 304 that announces a body', () => {
  for (const status of [204, 304]) {
    assert.equal(keepAliveMs(status, ['Content-Length', '5']), 0);
    assert.equal(keepAliveMs(status, ['Keep-Alive', 'timeout=5', 'Content-Length', '0']), 3_000);
    assert.equal(keepAliveMs(status, []), 4_000);
  }
});
