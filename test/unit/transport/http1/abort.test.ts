import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { http1Dispatcher, responseOf, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { type Followed, follow, type Reactions } from '../../../harness/followed.ts';

/** Long enough for bytes to arrive over loopback. */
const ARRIVED_MS = 30;

const ENOUGH = Object.assign(new Error('enough'), { name: 'Enough' });

const abort = (controller: Dispatcher.DispatchController): void => controller.abort(ENOUGH);

/** Headers of a response of ten bytes. */
const HEADERS = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n';

for (const [way, tls] of WAYS) {
  test(`sends nothing of a request that is aborted before its first byte, and reuses the connection, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')), { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const first = await follow(dispatcher, { origin: upstream.origin, path: '/unwanted' }, { onStart: abort }).ended();
    assert.deepEqual(first.events, ['start', 'error Enough']);
    await follow(dispatcher, { origin: upstream.origin, path: '/wanted' }).ended();
    assert.equal(upstream.connections.length, 1);
    assert.match(upstream.connections[0]?.received ?? '', /^GET \/wanted /);
  });

  for (const [place, reactions, events, parts] of [
    ['in the headers', { onResponse: abort }, ['start', 'response 200', 'error Enough'], [`${HEADERS}hello`]],
    ['in the body', { onData: abort }, ['start', 'response 200', 'data', 'error Enough'], [`${HEADERS}he`, 'll', 'o']],
    [
      'in the last part of the body',
      { onData: abort },
      ['start', 'response 200', 'data', 'error Enough'],
      [responseOf('hello')],
    ],
    [
      'in the headers of a response without a body',
      { onResponse: abort },
      ['start', 'response 200', 'error Enough'],
      [responseOf('') + responseOf('')],
    ],
  ] as const) {
    test(`reports only the abort to a handler that aborts ${place}, and closes the connection, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(
        t,
        (connection) => {
          for (const part of parts) connection.send(part);
        },
        { authority },
      );
      const followed = await follow(http1Dispatcher(t, authority), { origin: upstream.origin }, reactions).ended();
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      await delay(ARRIVED_MS);
      assert.deepEqual(followed.events, events);
      assert.equal(followed.error, ENOUGH);
    });
  }

  test(`reports an abort at once while the request waits for headers, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, () => {}, { authority });
    const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin });
    await eventually('the request has arrived', () => upstream.connections[0]?.received !== undefined);
    await eventually('the request has started', () => followed.events.length > 0);
    followed.controller?.abort(ENOUGH);
    assert.deepEqual(followed.events, ['start', 'error Enough']);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
  });
}

test('reports the first of two aborts', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')));
  const twice = (controller: Dispatcher.DispatchController): void => {
    controller.abort(ENOUGH);
    controller.abort(new Error('again'));
  };
  const followed = await follow(http1Dispatcher(t), { origin: upstream.origin }, { onResponse: twice }).ended();
  await delay(ARRIVED_MS);
  assert.deepEqual(followed.events, ['start', 'response 200', 'error Enough']);
  assert.deepEqual([followed.controller?.aborted, followed.controller?.reason], [true, ENOUGH]);
});

test('ignores pause, abort and resume after the end, and reuses the connection', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')));
  const dispatcher = http1Dispatcher(t);
  const doAll = (controller: Dispatcher.DispatchController): void => {
    controller.pause();
    controller.abort(ENOUGH);
    controller.resume();
  };
  const followed = await follow(dispatcher, { origin: upstream.origin }, { onEnd: doAll }).ended();
  const next = follow(
    dispatcher,
    { origin: upstream.origin },
    { onResponse: () => doAll(followed.controller as never) },
  );
  assert.deepEqual((await next.ended()).events, ['start', 'response 200', 'data', 'end']);
  assert.deepEqual(followed.events, ['start', 'response 200', 'data', 'end']);
  assert.equal(followed.controller?.aborted, false);
  assert.equal(upstream.connections.length, 1);
});

test('drops buffered bytes when a paused request is aborted', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(`${HEADERS}hello`));
  const followed = follow(
    http1Dispatcher(t),
    { origin: upstream.origin },
    { onResponse: (controller) => controller.pause() },
  );
  await eventually('the headers', () => followed.events.includes('response 200'));
  upstream.connections[0]?.send('world');
  await delay(ARRIVED_MS);
  followed.controller?.resume();
  followed.controller?.abort(ENOUGH);
  await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
  assert.deepEqual(followed.events, ['start', 'response 200', 'error Enough']);
});

const throwIt = (): void => {
  throw ENOUGH;
};

for (const [callback, reactions, events] of [
  ['in onRequestStart', { onStart: throwIt }, ['start', 'error Enough']],
  ['in onResponseStart', { onResponse: throwIt }, ['start', 'response 200', 'error Enough']],
  ['in onResponseData', { onData: throwIt }, ['start', 'response 200', 'data', 'error Enough']],
  ['in onResponseEnd', { onEnd: throwIt }, ['start', 'response 200', 'data', 'end']],
] as const satisfies readonly (readonly [string, Reactions, readonly string[]])[]) {
  test(`fails only one request, once, when its handler throws ${callback}`, async (t) => {
    const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')));
    const dispatcher = http1Dispatcher(t);
    const thrower = follow(dispatcher, { origin: upstream.origin }, reactions);
    const other = follow(dispatcher, { origin: upstream.origin });
    await Promise.all([thrower.ended(), other.ended()]);
    const next: Followed[] = [];
    for (let i = 0; i < 2; i += 1) next.push(await follow(dispatcher, { origin: upstream.origin }).ended());
    assert.deepEqual(thrower.events, events);
    for (const { events } of [other, ...next]) assert.deepEqual(events, ['start', 'response 200', 'data', 'end']);
  });
}

const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n';

for (const [way, tls] of WAYS) {
  test(`hands over a connection that ended while paused, with all bytes before its end, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      ({ send, socket }) => {
        send(`${SWITCH}first`);
        socket.end();
      },
      { authority },
    );
    const followed = follow(
      http1Dispatcher(t, authority),
      { origin: upstream.origin, upgrade: 'echo' },
      {
        onStart(controller) {
          controller.pause();
          setTimeout(() => controller.resume(), ARRIVED_MS);
        },
      },
    );
    await followed.ended();
    await delay(ARRIVED_MS);
    const { events, socket } = followed;
    assert.deepEqual([events, socket?.destroyed], [['start', 'upgrade 101'], false]);
    let received = '';
    socket?.on('data', (chunk) => {
      received += chunk;
    });
    socket?.on('end', () => {
      received += ', end';
    });
    socket?.resume();
    await eventually('the end', () => received === 'first, end');
  });

  test(`fails a request and sends nothing more when the upstream switches protocols too early, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(SWITCH), { authority });
    async function* content() {
      yield Buffer.from('begun');
      await eventually('the connection is half closed', () => upstream.connections[0]?.hasEnded === true);
      yield Buffer.from('late');
    }
    const request = { origin: upstream.origin, method: 'POST', upgrade: 'echo', body: content() } as const;
    const followed = await follow(http1Dispatcher(t, authority), request).ended();
    assert.deepEqual(followed.events, ['start', 'error SocketError']);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
    assert.doesNotMatch(upstream.connections[0]?.received ?? '', /late/);
  });
}
