import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { ARRIVED_MS, link, responseOf, testWays } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { abort, ENOUGH, type Reactions, SERVED, throwIt } from '../../../harness/followed.ts';

/** Headers of a response of ten bytes. */
const HEADERS = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n';

const IN_HEADERS = ['start', 'response 200', 'error Enough'];
const IN_BODY = ['start', 'response 200', 'data', 'error Enough'];

testWays(
  'sends nothing of a request that is aborted before its first byte, and reuses the connection',
  async (start) => {
    const { ask, connections, received } = await start(responseOf('hello'));
    const first = await ask({ path: '/unwanted' }, { onStart: abort });
    assert.deepEqual(first.events, ['start', 'error Enough']);
    await ask({ path: '/wanted' });
    assert.equal(connections.length, 1);
    assert.match(received(), /^GET \/wanted /);
  },
);

for (const [place, reactions, events, parts] of [
  ['in the headers', { onResponse: abort }, IN_HEADERS, [`${HEADERS}hello`]],
  ['in the body', { onData: abort }, IN_BODY, [`${HEADERS}he`, 'll', 'o']],
  ['in the last part of the body', { onData: abort }, IN_BODY, [responseOf('hello')]],
  ['in the headers of a response without a body', { onResponse: abort }, IN_HEADERS, [responseOf('') + responseOf('')]],
] as const) {
  testWays(`reports only the abort to a handler that aborts ${place}, and closes the connection`, async (start) => {
    const { ask, closed } = await start((connection) => parts.forEach(connection.send));
    const followed = await ask({}, reactions);
    await closed();
    await delay(ARRIVED_MS);
    assert.deepEqual(followed.events, events);
    assert.equal(followed.error, ENOUGH);
  });
}

testWays('reports an abort at once while the request waits for headers', async (start) => {
  const { send, received, closed } = await start(() => {});
  const followed = send();
  await eventually('the request has arrived', () => received() !== '' && followed.events.length > 0);
  followed.controller?.abort(ENOUGH);
  assert.deepEqual(followed.events, ['start', 'error Enough']);
  await closed();
});

test('reports the first of two aborts', async (t) => {
  const { ask } = await link(t, responseOf('hello'));
  const twice = (controller: Dispatcher.DispatchController): void => {
    controller.abort(ENOUGH);
    controller.abort(new Error('again'));
  };
  const followed = await ask({}, { onResponse: twice });
  await delay(ARRIVED_MS);
  assert.deepEqual(followed.events, IN_HEADERS);
  assert.deepEqual([followed.controller?.aborted, followed.controller?.reason], [true, ENOUGH]);
});

test('ignores pause, abort and resume after the end, and reuses the connection', async (t) => {
  const { ask, connections } = await link(t, responseOf('hello'));
  const doAll = (controller: Dispatcher.DispatchController): void => {
    controller.pause();
    controller.abort(ENOUGH);
    controller.resume();
  };
  const followed = await ask({}, { onEnd: doAll });
  const next = await ask({}, { onResponse: () => doAll(followed.controller as never) });
  for (const { events } of [followed, next]) assert.deepEqual(events, SERVED);
  assert.equal(followed.controller?.aborted, false);
  assert.equal(connections.length, 1);
});

test('drops buffered bytes when a paused request is aborted', async (t) => {
  const { send, connections, closed } = await link(t, `${HEADERS}hello`);
  const followed = send({}, { onResponse: (controller) => controller.pause() });
  await eventually('the headers', () => followed.events.includes('response 200'));
  connections[0]?.send('world');
  await delay(ARRIVED_MS);
  followed.controller?.resume();
  followed.controller?.abort(ENOUGH);
  await closed();
  assert.deepEqual(followed.events, IN_HEADERS);
});

for (const [callback, reactions, events] of [
  ['in onRequestStart', { onStart: throwIt }, ['start', 'error Enough']],
  ['in onResponseStart', { onResponse: throwIt }, IN_HEADERS],
  ['in onResponseData', { onData: throwIt }, IN_BODY],
  ['in onResponseEnd', { onEnd: throwIt }, SERVED],
] as const satisfies readonly (readonly [string, Reactions, readonly string[]])[]) {
  test(`fails only one request, once, when its handler throws ${callback}`, async (t) => {
    const { send, ask } = await link(t, responseOf('hello'));
    const thrower = send({}, reactions);
    const others = [await send().ended(), await ask(), await ask()];
    assert.deepEqual((await thrower.ended()).events, events);
    for (const { events } of others) assert.deepEqual(events, SERVED);
  });
}
