import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { createSocketReader, type SocketReader } from '../../../../src/transport/http1/sockets.ts';
import { ARRIVED_MS, link, OK, responseOf, testWays, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { ENOUGH, pauseFor, type Reactions, SERVED } from '../../../harness/followed.ts';
import { settled } from '../../../harness/manual-pool.ts';

type Controller = Dispatcher.DispatchController;

const pause = (controller: Controller): void => controller.pause();

/** Different times to resume after a pause. */
const WHEN = {
  'inside the same callback': (controller: Controller) => controller.resume(),
  'in a microtask': (controller: Controller) => queueMicrotask(() => controller.resume()),
  'in the next turn': (controller: Controller) => setImmediate(() => controller.resume()),
  'much later': (controller: Controller) => setTimeout(() => controller.resume(), ARRIVED_MS),
  'inside the same callback, twice': (controller: Controller) => {
    controller.resume();
    controller.resume();
  },
  'after a second pause': (controller: Controller) => {
    controller.resume();
    pauseFor(ARRIVED_MS)(controller);
  },
};

const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

const RESPONSES = {
  'with a length': responseOf('hello'),
  'in chunks': `${CHUNKED}2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n`,
  'without a length': 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello',
};

for (const place of ['onStart', 'onResponse', 'onData', 'everywhere'] as const) {
  for (const [when, resume] of Object.entries(WHEN)) {
    testWays(`passes on all of a response that is paused ${place} and resumed ${when}`, async (start) => {
      const { ask, connections } = await start(({ send, socket }, headers) => {
        const response = RESPONSES[decodeURI(headers.split(' ')[1] as string).slice(1) as keyof typeof RESPONSES];
        for (const part of response.match(/.{1,16}/gs) ?? []) send(part);
        if (response.includes('close')) socket.end();
      });
      let paused = false;
      const pauseHere = (controller: Controller): void => {
        controller.pause();
        paused = true;
        resume(controller);
      };
      const reactions: Reactions =
        place === 'everywhere'
          ? { onStart: pauseHere, onResponse: pauseHere, onData: pauseHere }
          : { [place]: pauseHere };
      for (const what of Object.keys(RESPONSES)) {
        const { body, events } = await ask({ path: encodeURI(`/${what}`) }, reactions);
        assert.deepEqual([body, ...events], ['hello', ...SERVED], what);
      }
      assert.ok(paused);
      assert.equal(connections.length, 1);
    });
  }
}

const pauseAgain = (controller: Controller): void => {
  controller.pause();
  controller.resume();
  controller.pause();
};

for (const [what, reactions, events] of [
  ['paused onStart', { onStart: pause }, ['start']],
  ['paused onResponse', { onResponse: pause }, ['start', 'response 200']],
  ['paused onData', { onData: pause }, ['start', 'response 200', 'data']],
  ['paused again right after it was resumed', { onResponse: pauseAgain }, ['start', 'response 200']],
] as const) {
  testWays(`reports nothing more of a response that is ${what}, until it is resumed`, async (start) => {
    const { send } = await start(responseOf('hello'));
    const followed = send({}, reactions);
    await eventually('the response is paused', () => followed.controller?.paused === true);
    await delay(ARRIVED_MS);
    assert.deepEqual(followed.events, events);
    followed.controller?.resume();
    assert.equal((await followed.ended()).body, 'hello');
  });
}

testWays('stops reading while a response is paused', async (start) => {
  const part = 'x'.repeat(1 << 20);
  const { send, connections } = await start(({ socket, send }) => {
    send(`HTTP/1.1 200 OK\r\nContent-Length: ${64 << 20}\r\n\r\n`);
    const fill = (): void => {
      while (socket.bytesWritten < 64 << 20 && socket.write(part));
    };
    socket.on('drain', fill);
    fill();
  });
  const followed = send({}, { onResponse: pause });
  const waits = () => connections[0]?.socket.writableNeedDrain === true;
  await eventually('the upstream waits', waits);
  await delay(200);
  assert.ok(waits());
  assert.deepEqual(followed.events, ['start', 'response 200']);
  followed.controller?.abort(ENOUGH);
});

const CLOSES = `${OK}Connection: close\r\n`;
const INCOMPLETE = 'Content-Length: 9\r\n\r\nhello';

/** A connection is closed, or ends, while its response is paused. */
const ENDS: readonly [what: string, response: string, last: 'end' | 'destroy' | 'resetAndDestroy', end: string][] = [
  ['completes a response without a length', `${OK}\r\nhello`, 'end', 'end'],
  ['completes a response with a length', responseOf('hello', CLOSES), 'end', 'end'],
  ['completes a response with a length, on a persistent connection', responseOf('hello'), 'end', 'end'],
  ['completes a response with a length, on a closed connection', responseOf('hello'), 'destroy', 'end'],
  ['fails with an incomplete response', CLOSES + INCOMPLETE, 'end', 'error SocketError'],
  ['fails with an incomplete response, on a persistent connection', OK + INCOMPLETE, 'end', 'error SocketError'],
  ['fails with a response without its last chunk', `${CHUNKED}5\r\nhello\r\n`, 'end', 'error SocketError'],
  ["fails with the parser's error", `${CHUNKED}5\r\nhello\r\nnone\r\n`, 'end', 'error HTTPParserError'],
  ['fails with a reset response without a length', `${OK}\r\nhello`, 'resetAndDestroy', 'error Error'],
  ['fails with an incomplete response that is reset', OK + INCOMPLETE, 'resetAndDestroy', 'error Error'],
];
for (const [what, response, last, end] of ENDS) {
  // A reset drops bytes that were not read yet.
  const isReset = last === 'resetAndDestroy';
  for (const place of isReset ? ['onData'] : ['onResponse', 'onData']) {
    testWays(
      `${what}, whose connection ends while it is paused ${place}`,
      async (start) => {
        const { ask, connections } = await start(({ send }) => send(response));
        const endConnection = (): void => void connections[0]?.socket[last]();
        const pauseMeanwhile = (controller: Controller): void => {
          pauseFor(3 * ARRIVED_MS)(controller);
          setTimeout(endConnection, ARRIVED_MS);
        };
        const { events, body } = await ask({}, { [place]: pauseMeanwhile });
        assert.deepEqual([body, ...events], ['hello', 'start', 'response 200', 'data', end]);
      },
      isReset ? WAYS.slice(0, 1) : WAYS,
    );
  }
}

test('does not pause the next request on a connection whose last response was paused to its end', async (t) => {
  const { ask, connections } = await link(t, responseOf('hello'));
  for (let i = 0; i < 3; i += 1) assert.deepEqual((await ask({}, { onData: pauseFor(5) })).events, SERVED);
  assert.equal(connections.length, 1);
});

const LONG = 'x'.repeat(4_000);

testWays('keeps bytes intact that are buffered or kept by a handler, while another connection reads', async (start) => {
  const { send, ask } = await start(({ send }, headers) =>
    send(responseOf(headers.includes('/long') ? LONG : 'hello')),
  );
  const kept: Buffer[] = [];
  await ask({}, { onData: (_, chunk) => kept.push(chunk) });
  const paused = send({}, { onResponse: pause });
  await eventually('the headers', () => paused.status === 200);
  assert.equal((await ask({ path: '/long' })).body, LONG);
  assert.equal(Buffer.concat(kept).toString(), 'hello');
  paused.controller?.resume();
  assert.equal((await paused.ended()).body, 'hello');
});

/** A socket reader, and the calls of its consumer, which calls `onRead` in `read`. */
function watch(onRead: (reader: SocketReader, socket: Duplex) => void) {
  const calls: string[] = [];
  const socket = new Duplex({ read() {}, write: (_chunk, _encoding, written) => written() });
  const reader: SocketReader = createSocketReader(socket as Socket, {
    read(bytes) {
      calls.push(`read ${bytes}`);
      onRead(reader, socket);
      return bytes.length;
    },
    finish: () => void calls.push('finish'),
    resume: () => void calls.push('resume'),
  });
  return { reader, socket, calls };
}

for (const [what, onRead, expected] of [
  ['bytes and then the end after a pause', () => {}, ['resume', 'read hello', 'finish']],
  ['nothing after it was detached', (reader) => reader.detach(), ['resume', 'read hello']],
  ['no end after the socket was destroyed', (_, socket) => void socket.destroy(), ['resume', 'read hello']],
] as readonly [string, Parameters<typeof watch>[0], string[]][]) {
  test(`passes on ${what}`, async () => {
    const { reader, socket, calls } = watch(onRead);
    reader.pause();
    reader.push(Buffer.from('hello'));
    socket.emit('end');
    reader.resume(() => true);
    await settled();
    assert.deepEqual(calls, expected);
  });
}

test('leaves later bytes and the end to the next owner of the socket', async () => {
  const { reader, socket, calls } = watch(() => {});
  reader.detach();
  socket.push('more');
  socket.push(null);
  socket.resume();
  await settled();
  assert.deepEqual(calls, []);
  assert.equal(socket.readableEnded, true);
});
