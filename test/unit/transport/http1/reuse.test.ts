import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  answerOf,
  type BareConnection,
  http1Dispatcher,
  startBareUpstream,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

/** The next turn of the event loop, when all was read that has come. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function answerWithPath(connection: BareConnection, head: string): void {
  connection.send(answerOf(head.split(' ')[1] as string));
}

for (const [way, tls] of WAYS) {
  test(`requests that follow each other go on one connection, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, answerWithPath, { authority });
    const dispatcher = http1Dispatcher(t, authority);
    for (const path of ['/a', '/b', '/c']) {
      const { body, events } = await follow(dispatcher, { origin: upstream.origin, path }).over();
      assert.equal(body, path);
      assert.deepEqual(events, ['start', 'head 200', 'data', 'end']);
    }
    assert.equal(upstream.connections.length, 1);
  });

  test(`a request that is sent as the one before it ends goes on the same connection, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')), { authority });
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

test('of several free connections the one used last is used next', async (t) => {
  const asked: number[] = [];
  const upstream = await startBareUpstream(t, (connection) => asked.push(upstream.connections.indexOf(connection)));
  const dispatcher = http1Dispatcher(t);
  const request = { origin: upstream.origin };
  const three = [follow(dispatcher, request), follow(dispatcher, request), follow(dispatcher, request)];
  await eventually('all are there', () => asked.length === 3);
  const answer = async (connection: number): Promise<void> => {
    const ended = (): number => three.filter(({ events }) => events.includes('end')).length;
    const before = ended();
    upstream.connections[connection]?.send(answerOf('hello'));
    await eventually('its end', () => ended() === before + 1);
  };
  for (const connection of [0, 2, 1]) await answer(connection);
  for (const nth of [4, 5]) {
    three.push(follow(dispatcher, request));
    await eventually('the next is there', () => asked.length === nth);
    await answer(1);
  }
  assert.deepEqual(asked.slice(3), [1, 1]);
});

for (const [what, answer] of [
  ['says that it closes', answerOf('hello', 'HTTP/1.1 200 OK\r\nConnection: close\r\n')],
  ['says among other things that it closes', answerOf('hello', 'HTTP/1.1 200 OK\r\nConnection: x, Close\r\n')],
  ['is of HTTP/1.0', answerOf('hello', 'HTTP/1.0 200 OK\r\n')],
  ['waits a second for the next request', answerOf('hello', 'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\n')],
  ['waits as long as the margin', answerOf('hello', 'HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\n')],
] as const) {
  test(`after an answer that ${what} its connection is not used again`, async (t) => {
    // Nothing is swept.
    t.mock.timers.enable({ apis: ['setInterval'] });
    const upstream = await startBareUpstream(t, (connection) => connection.send(answer));
    const dispatcher = http1Dispatcher(t);
    const { body } = await follow(dispatcher, { origin: upstream.origin }).over();
    assert.equal(body, 'hello');
    await eventually('it is closed', () => upstream.connections[0]?.hasEnded === true);
    await follow(dispatcher, { origin: upstream.origin }).over();
    assert.equal(upstream.connections.length, 2);
  });
}

test('an upstream of HTTP/1.0 that keeps the connection is asked on it again', async (t) => {
  const answer = answerOf('hello', 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n');
  const upstream = await startBareUpstream(t, (connection) => connection.send(answer));
  const dispatcher = http1Dispatcher(t);
  for (let i = 0; i < 3; i += 1) await follow(dispatcher, { origin: upstream.origin }).over();
  assert.equal(upstream.connections.length, 1);
});

for (const [what, head, usedMs] of [
  ['that does not say how long it waits', '', 4_000],
  ['that waits five seconds', 'Keep-Alive: timeout=5\r\n', 3_000],
  ['that waits for hours', 'Keep-Alive: timeout=36000, max=5\r\n', 598_000],
] as const) {
  test(`a connection to an upstream ${what} is used for ${usedMs} ms, and not after that`, async (t) => {
    const upstream = await startBareUpstream(t, (connection) => {
      connection.send(answerOf('hello', `HTTP/1.1 200 OK\r\n${head}`));
    });
    const dispatcher = http1Dispatcher(t);
    let nowMs = 1_000_000;
    t.mock.method(performance, 'now', () => nowMs);
    const ask = (): Promise<unknown> => {
      const followed = follow(dispatcher, { origin: upstream.origin });
      return new Promise((resolve) => setImmediate(() => resolve(followed.over())));
    };
    await ask();
    await turn();
    nowMs += usedMs - 1;
    await ask();
    await turn();
    assert.equal(upstream.connections.length, 1);
    nowMs += usedMs;
    await ask();
    assert.equal(upstream.connections.length, 2);
  });
}

for (const last of ['end', 'resetAndDestroy'] as const) {
  test(`a free connection that its upstream ends by ${last} is not used again`, async (t) => {
    const upstream = await startBareUpstream(t, answerWithPath);
    const dispatcher = http1Dispatcher(t);
    await follow(dispatcher, { origin: upstream.origin }).over();
    upstream.connections[0]?.socket[last]();
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
    const { events } = await follow(dispatcher, { origin: upstream.origin }).over();
    assert.deepEqual(events, ['start', 'head 200', 'data', 'end']);
    assert.equal(upstream.connections.length, 2);
  });

  test(`a request that is sent as its upstream ends a free connection by ${last} goes on another`, async (t) => {
    const upstream = await startBareUpstream(t, answerWithPath);
    const dispatcher = http1Dispatcher(t);
    await follow(dispatcher, { origin: upstream.origin }).over();
    await turn();
    upstream.connections[0]?.socket[last]();
    const { events } = await follow(dispatcher, { origin: upstream.origin }).over();
    assert.deepEqual(events, ['start', 'head 200', 'data', 'end']);
    assert.equal(upstream.connections.length, 2);
  });
}
