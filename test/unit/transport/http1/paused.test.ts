import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { answerOf, http1Dispatcher, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow, type Reactions } from '../../../harness/followed.ts';

/** Long enough for loopback to bring what was sent. */
const ARRIVED_MS = 30;

type Controller = Dispatcher.DispatchController;

/** Each resumes what it has paused in its own time. */
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
    controller.pause();
    setTimeout(() => controller.resume(), ARRIVED_MS);
  },
};

const PLACES = ['onStart', 'onHead', 'onData', 'everywhere'] as const;

const ANSWERS = {
  'with a length': answerOf('hello'),
  'in chunks': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n',
  'without a length': 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello',
};

for (const [way, tls] of WAYS) {
  for (const place of PLACES) {
    for (const [when, resume] of Object.entries(WHEN)) {
      test(`an answer paused ${place} and resumed ${when} is told whole, by ${way}`, async (t) => {
        const authority = tls?.();
        const upstream = await startBareUpstream(
          t,
          (connection, head) => {
            const answer = ANSWERS[decodeURI(head.split(' ')[1] as string).slice(1) as keyof typeof ANSWERS];
            for (const part of answer.match(/.{1,16}/gs) ?? []) connection.send(part);
            if (answer.includes('close')) connection.socket.end();
          },
          { authority },
        );
        const dispatcher = http1Dispatcher(t, authority);
        let paused = false;
        const pause = (controller: Controller): void => {
          controller.pause();
          paused = true;
          resume(controller);
        };
        const reactions: Reactions =
          place === 'everywhere' ? { onStart: pause, onHead: pause, onData: pause } : { [place]: pause };
        for (const what of Object.keys(ANSWERS)) {
          const followed = await follow(
            dispatcher,
            { origin: upstream.origin, path: encodeURI(`/${what}`) },
            reactions,
          ).over();
          assert.deepEqual([followed.body, ...followed.events], ['hello', 'start', 'head 200', 'data', 'end'], what);
        }
        assert.ok(paused);
        assert.equal(upstream.connections.length, 1);
      });
    }
  }

  for (const [place, events] of [
    ['onStart', ['start']],
    ['onHead', ['start', 'head 200']],
    ['onData', ['start', 'head 200', 'data']],
  ] as const) {
    test(`nothing more is told of an answer that is paused ${place} before it is resumed, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')), { authority });
      const reactions = { [place]: (controller: Controller) => controller.pause() };
      const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin }, reactions);
      await eventually('it is paused', () => followed.controller?.paused === true);
      await delay(ARRIVED_MS);
      assert.deepEqual(followed.events, events);
      followed.controller?.resume();
      assert.equal((await followed.over()).body, 'hello');
    });
  }

  test(`nothing more is told of an answer that is paused again right after it was resumed, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')), { authority });
    const reactions = {
      onHead(controller: Controller) {
        controller.pause();
        controller.resume();
        controller.pause();
      },
    };
    const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin }, reactions);
    await eventually('it is paused', () => followed.controller?.paused === true);
    await delay(ARRIVED_MS);
    assert.deepEqual(followed.events, ['start', 'head 200']);
    followed.controller?.resume();
    assert.equal((await followed.over()).body, 'hello');
  });

  test(`an upstream cannot send more than what fits on the way while its answer is paused, by ${way}`, async (t) => {
    const authority = tls?.();
    const part = 'x'.repeat(1 << 20);
    const upstream = await startBareUpstream(
      t,
      ({ socket, send }) => {
        send(`HTTP/1.1 200 OK\r\nContent-Length: ${64 << 20}\r\n\r\n`);
        const fill = (): void => {
          while (socket.bytesWritten < 64 << 20 && socket.write(part));
        };
        socket.on('drain', fill);
        fill();
      },
      { authority },
    );
    const followed = follow(
      http1Dispatcher(t, authority),
      { origin: upstream.origin },
      { onHead: (controller) => controller.pause() },
    );
    const socket = () => upstream.connections[0]?.socket;
    await eventually('the upstream has to wait', () => socket()?.writableNeedDrain === true);
    await delay(200);
    assert.equal(socket()?.writableNeedDrain, true);
    assert.deepEqual(followed.events, ['start', 'head 200']);
    followed.controller?.abort(new Error('enough'));
  });

  test(`what is no answer is told by what is wrong with it though its connection ends while it is paused, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      ({ send, socket }) => {
        send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnone\r\n');
        socket.end();
      },
      { authority },
    );
    const pause = (controller: Controller): void => {
      controller.pause();
      setTimeout(() => controller.resume(), ARRIVED_MS);
    };
    const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin }, { onHead: pause });
    assert.deepEqual((await followed.over()).events, ['start', 'head 200', 'data', 'error HTTPParserError']);
  });

  for (const [what, last, events] of [
    ['ends', 'end', ['start', 'head 200', 'data', 'end']],
    ['breaks off', 'destroy', ['start', 'head 200', 'data', 'end']],
  ] as const) {
    test(`an answer that was all there is told whole though its connection ${what} while the head is paused, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(
        t,
        (connection) => {
          connection.send('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
          connection.send('hello');
          setTimeout(() => connection.socket[last](), ARRIVED_MS);
        },
        { authority },
      );
      const pause = (controller: Controller): void => {
        controller.pause();
        setTimeout(() => controller.resume(), 3 * ARRIVED_MS);
      };
      const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin }, { onHead: pause });
      assert.deepEqual((await followed.over()).events, events);
    });
  }
}

test('the next request on a connection is not held back by the one before it, which was paused to the end', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(answerOf('hello')));
  const dispatcher = http1Dispatcher(t);
  for (let i = 0; i < 3; i += 1) {
    const paused = follow(
      dispatcher,
      { origin: upstream.origin },
      {
        onData: (controller) => {
          controller.pause();
          setTimeout(() => controller.resume(), 5);
        },
      },
    );
    assert.deepEqual((await paused.over()).events, ['start', 'head 200', 'data', 'end']);
  }
  assert.equal(upstream.connections.length, 1);
});
