import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import { http1Dispatcher, responseOf, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow, type Reactions } from '../../../harness/followed.ts';

/** Long enough for bytes to arrive over loopback. */
const ARRIVED_MS = 30;

type Controller = Dispatcher.DispatchController;

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
    controller.pause();
    setTimeout(() => controller.resume(), ARRIVED_MS);
  },
};

const PLACES = ['onStart', 'onResponse', 'onData', 'everywhere'] as const;

const RESPONSES = {
  'with a length': responseOf('hello'),
  'in chunks': 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n',
  'without a length': 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello',
};

for (const [way, tls] of WAYS) {
  for (const place of PLACES) {
    for (const [when, resume] of Object.entries(WHEN)) {
      test(`passes on all of a response that is paused ${place} and resumed ${when}, over ${way}`, async (t) => {
        const authority = tls?.();
        const upstream = await startBareUpstream(
          t,
          (connection, headers) => {
            const response = RESPONSES[decodeURI(headers.split(' ')[1] as string).slice(1) as keyof typeof RESPONSES];
            for (const part of response.match(/.{1,16}/gs) ?? []) connection.send(part);
            if (response.includes('close')) connection.socket.end();
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
          place === 'everywhere' ? { onStart: pause, onResponse: pause, onData: pause } : { [place]: pause };
        for (const what of Object.keys(RESPONSES)) {
          const followed = await follow(
            dispatcher,
            { origin: upstream.origin, path: encodeURI(`/${what}`) },
            reactions,
          ).ended();
          assert.deepEqual(
            [followed.body, ...followed.events],
            ['hello', 'start', 'response 200', 'data', 'end'],
            what,
          );
        }
        assert.ok(paused);
        assert.equal(upstream.connections.length, 1);
      });
    }
  }

  for (const [place, events] of [
    ['onStart', ['start']],
    ['onResponse', ['start', 'response 200']],
    ['onData', ['start', 'response 200', 'data']],
  ] as const) {
    test(`reports nothing more of a response that is paused ${place}, until it is resumed, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')), { authority });
      const reactions = { [place]: (controller: Controller) => controller.pause() };
      const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin }, reactions);
      await eventually('the response is paused', () => followed.controller?.paused === true);
      await delay(ARRIVED_MS);
      assert.deepEqual(followed.events, events);
      followed.controller?.resume();
      assert.equal((await followed.ended()).body, 'hello');
    });
  }

  test(`reports nothing more of a response that is paused again right after it was resumed, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')), { authority });
    const reactions = {
      onResponse(controller: Controller) {
        controller.pause();
        controller.resume();
        controller.pause();
      },
    };
    const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin }, reactions);
    await eventually('the response is paused', () => followed.controller?.paused === true);
    await delay(ARRIVED_MS);
    assert.deepEqual(followed.events, ['start', 'response 200']);
    followed.controller?.resume();
    assert.equal((await followed.ended()).body, 'hello');
  });

  test(`stops reading while a response is paused, over ${way}`, async (t) => {
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
      { onResponse: (controller) => controller.pause() },
    );
    const socket = () => upstream.connections[0]?.socket;
    await eventually('the upstream waits', () => socket()?.writableNeedDrain === true);
    await delay(200);
    assert.equal(socket()?.writableNeedDrain, true);
    assert.deepEqual(followed.events, ['start', 'response 200']);
    followed.controller?.abort(new Error('enough'));
  });

  test(`fails with the parser's error though the connection ends while the response is paused, over ${way}`, async (t) => {
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
    const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin }, { onResponse: pause });
    assert.deepEqual((await followed.ended()).events, ['start', 'response 200', 'data', 'error HTTPParserError']);
  });

  for (const [what, last, events] of [
    ['ends', 'end', ['start', 'response 200', 'data', 'end']],
    ['is closed', 'destroy', ['start', 'response 200', 'data', 'end']],
  ] as const) {
    test(`passes on a complete response although its connection ${what} during a pause, over ${way}`, async (t) => {
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
      const followed = follow(http1Dispatcher(t, authority), { origin: upstream.origin }, { onResponse: pause });
      assert.deepEqual((await followed.ended()).events, events);
    });
  }
}

test('does not pause the next request on a connection whose last response was paused to its end', async (t) => {
  const upstream = await startBareUpstream(t, (connection) => connection.send(responseOf('hello')));
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
    assert.deepEqual((await paused.ended()).events, ['start', 'response 200', 'data', 'end']);
  }
  assert.equal(upstream.connections.length, 1);
});
