import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { answerOf, http1Dispatcher, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { type Followed, follow, type Reactions } from '../../../harness/followed.ts';

/** Long enough for loopback to bring what was sent. */
const ARRIVED_MS = 30;

const ENOUGH = Object.assign(new Error('enough'), { name: 'Enough' });

const giveUp = (controller: Dispatcher.DispatchController): void => controller.abort(ENOUGH);

/** In two parts, and more than is asked for. */
const HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n';

for (const [way, tls] of WAYS) {
  test(`a handler that gives up before the first byte has none sent, and the connection serves the next, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')), { authority });
    const dispatcher = http1Dispatcher(t, authority);
    const first = await follow(dispatcher, { origin: upstream.origin, path: '/unwanted' }, { onStart: giveUp }).over();
    assert.deepEqual(first.events, ['start', 'error Enough']);
    await follow(dispatcher, { origin: upstream.origin, path: '/wanted' }).over();
    assert.equal(upstream.connections.length, 1);
    assert.match(upstream.connections[0]?.received ?? '', /^GET \/wanted /);
  });

  for (const [place, reactions, events, parts] of [
    ['in the head', { onHead: giveUp }, ['start', 'head 200', 'error Enough'], [`${HEAD}hello`]],
    ['in the body', { onData: giveUp }, ['start', 'head 200', 'data', 'error Enough'], [`${HEAD}he`, 'll', 'o']],
    [
      'in the last part of the body',
      { onData: giveUp },
      ['start', 'head 200', 'data', 'error Enough'],
      [answerOf('hello')],
    ],
    [
      'in the head of an answer that has no body',
      { onHead: giveUp },
      ['start', 'head 200', 'error Enough'],
      [answerOf('') + answerOf('')],
    ],
  ] as const) {
    test(`a handler that gives up ${place} hears of that and of nothing else, and the connection ends, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(
        t,
        (connection) => {
          for (const part of parts) connection.send(part);
        },
        { authority },
      );
      const followed = await follow(http1Dispatcher(t, authority), { origin: upstream.origin }, reactions).over();
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      await delay(ARRIVED_MS);
      assert.deepEqual(followed.events, events);
      assert.equal(followed.error, ENOUGH);
    });
  }

  test(`a handler that gives up while it waits for the head hears of that at once, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, () => {}, { authority });
    const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin });
    await eventually('the request is there', () => upstream.connections[0]?.received !== undefined);
    await eventually('it has begun', () => followed.events.length > 0);
    followed.controller?.abort(ENOUGH);
    assert.deepEqual(followed.events, ['start', 'error Enough']);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
  });
}

test('a handler that gives up twice hears of the first', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')));
  const twice = (controller: Dispatcher.DispatchController): void => {
    controller.abort(ENOUGH);
    controller.abort(new Error('again'));
  };
  const followed = await follow(http1Dispatcher(t), { origin: upstream.origin }, { onHead: twice }).over();
  await delay(ARRIVED_MS);
  assert.deepEqual(followed.events, ['start', 'head 200', 'error Enough']);
  assert.deepEqual([followed.controller?.aborted, followed.controller?.reason], [true, ENOUGH]);
});

test('after the end nothing that the handler does changes anything, and the connection serves the next', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')));
  const dispatcher = http1Dispatcher(t);
  const doAll = (controller: Dispatcher.DispatchController): void => {
    controller.pause();
    controller.abort(ENOUGH);
    controller.resume();
  };
  const followed = await follow(dispatcher, { origin: upstream.origin }, { onEnd: doAll }).over();
  const next = follow(dispatcher, { origin: upstream.origin }, { onHead: () => doAll(followed.controller as never) });
  assert.deepEqual((await next.over()).events, ['start', 'head 200', 'data', 'end']);
  assert.deepEqual(followed.events, ['start', 'head 200', 'data', 'end']);
  assert.equal(followed.controller?.aborted, false);
  assert.equal(upstream.connections.length, 1);
});

test('a handler that gives up while the answer is held back hears nothing of what has come meanwhile', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(`${HEAD}hello`));
  const followed = follow(
    http1Dispatcher(t),
    { origin: upstream.origin },
    { onHead: (controller) => controller.pause() },
  );
  await eventually('the head', () => followed.events.includes('head 200'));
  upstream.connections[0]?.send('world');
  await delay(ARRIVED_MS);
  followed.controller?.resume();
  followed.controller?.abort(ENOUGH);
  await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
  assert.deepEqual(followed.events, ['start', 'head 200', 'error Enough']);
});

const throwIt = (): void => {
  throw ENOUGH;
};

for (const [callback, reactions, events] of [
  ['as the request goes out', { onStart: throwIt }, ['start', 'error Enough']],
  ['in the head', { onHead: throwIt }, ['start', 'head 200', 'error Enough']],
  ['in the body', { onData: throwIt }, ['start', 'head 200', 'data', 'error Enough']],
  ['in the end', { onEnd: throwIt }, ['start', 'head 200', 'data', 'end']],
] as const satisfies readonly (readonly [string, Reactions, readonly string[]])[]) {
  test(`what a handler throws ${callback} fails its request, once, and no other`, async (t) => {
    const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')));
    const dispatcher = http1Dispatcher(t);
    const thrower = follow(dispatcher, { origin: upstream.origin }, reactions);
    const other = follow(dispatcher, { origin: upstream.origin });
    await Promise.all([thrower.over(), other.over()]);
    const next: Followed[] = [];
    for (let i = 0; i < 2; i += 1) next.push(await follow(dispatcher, { origin: upstream.origin }).over());
    assert.deepEqual(thrower.events, events);
    for (const { events: told } of [other, ...next]) assert.deepEqual(told, ['start', 'head 200', 'data', 'end']);
  });
}
