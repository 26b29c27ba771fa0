import assert from 'node:assert/strict';
import { test } from 'node:test';
import { http1Dispatcher, responseOf, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

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
