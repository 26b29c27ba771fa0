import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerOf, http1Dispatcher, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n';

async function* pieces(text: string): AsyncGenerator<Buffer> {
  yield Buffer.from(text);
}

for (const [what, options] of [
  ['a GET with content', { method: 'GET', body: Buffer.from(SMUGGLED) }],
  ['a DELETE with content', { method: 'DELETE', body: Buffer.from(SMUGGLED) }],
  ['a GET whose content comes bit by bit', { method: 'GET', body: pieces(SMUGGLED) }],
  ['a HEAD', { method: 'HEAD' }],
] as const) {
  test(`nothing follows ${what} on its connection: to some upstreams it ends somewhere else`, async (t) => {
    const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('')));
    const dispatcher = http1Dispatcher(t);
    await follow(dispatcher, { origin: upstream.origin, ...options }).over();
    await eventually('it is closed', () => upstream.connections[0]?.hasEnded === true);
    assert.match(upstream.connections[0]?.received ?? '', /\r\nconnection: close\r\n/);
    await follow(dispatcher, { origin: upstream.origin }).over();
    assert.equal(upstream.connections.length, 2);
  });
}

for (const [what, method, head] of [
  ['a HEAD', 'HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n'],
  ['a 204 with a length', 'GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 100\r\n\r\n'],
  ['a 304 with a length', 'GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n'],
] as const) {
  test(`the body that ${what} does not have is nobody’s answer, however late it comes`, async (t) => {
    let isFirst = true;
    const upstream = await startBareUpstream(t, (connection) => {
      connection.send(isFirst ? head : answerOf('right'));
      if (isFirst) setTimeout(() => connection.send(answerOf('injected')), 20);
      isFirst = false;
    });
    const dispatcher = http1Dispatcher(t);
    assert.deepEqual((await follow(dispatcher, { origin: upstream.origin, method }).over()).events.at(-1), 'end');
    assert.equal((await follow(dispatcher, { origin: upstream.origin }).over()).body, 'right');
  });
}

for (const [what, chunked] of [
  ['a 204', 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ['a 304', 'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n'],
] as const) {
  test(`the last chunk that ${what} does not have breaks no other request`, async (t) => {
    let isFirst = true;
    const upstream = await startBareUpstream(t, (connection) => {
      connection.send(isFirst ? chunked : answerOf('right'));
      if (isFirst) setTimeout(() => connection.send('0\r\n\r\n'), 20);
      isFirst = false;
    });
    const dispatcher = http1Dispatcher(t);
    await follow(dispatcher, { origin: upstream.origin }).over();
    assert.equal((await follow(dispatcher, { origin: upstream.origin }).over()).body, 'right');
    assert.equal(upstream.connections.length, 2);
  });
}

test('an upstream that says only after the body that it closes is not asked on that connection again', async (t) => {
  const closing = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nConnection: close\r\n\r\n';
  const upstream = await startBareUpstream(t, (connection) => connection.send(closing));
  const dispatcher = http1Dispatcher(t);
  for (let i = 0; i < 2; i += 1) {
    assert.equal((await follow(dispatcher, { origin: upstream.origin }).over()).body, 'hi');
  }
  assert.equal(upstream.connections.length, 2);
});

test('what is no answer fails with the word of the parser for it, and nothing of what came', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send('SSH-2.0-secret\r\n\r\n'));
  const { error } = await follow(http1Dispatcher(t), { origin: upstream.origin }).over();
  assert.match(String(error), /malformed HTTP\/1\.1 response: expected HTTP\//);
  assert.equal((error as NodeJS.ErrnoException).code, 'HPE_INVALID_CONSTANT');
  assert.doesNotMatch(String(error), /secret/);
});

for (const [way, tls] of WAYS) {
  test(`callers who ask one call after the other ask on connections that they have asked on before, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')), { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const caller = async (): Promise<void> => {
      for (let i = 0; i < 40; i += 1) {
        assert.equal((await follow(dispatcher, { origin: upstream.origin }).over()).body, 'hello');
      }
    };
    await Promise.all(Array.from({ length: 16 }, caller));
    assert.ok(upstream.connections.length <= 4 * 16, String(upstream.connections.length));
  });
}
