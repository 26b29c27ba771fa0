import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  answerOf,
  type BareConnection,
  http1Dispatcher,
  type OnHead,
  startBareUpstream,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { type Followed, follow } from '../../../harness/followed.ts';

const UNASKED = answerOf('unasked');

/** Answers with the target; the first answer on each connection brings more, as the test says. */
function answering(first: (connection: BareConnection, answer: string) => void): OnHead {
  const seen = new Set<BareConnection>();
  return (connection, head) => {
    const answer = answerOf(head.split(' ')[1] as string);
    if (seen.has(connection)) connection.send(answer);
    else first(connection, answer);
    seen.add(connection);
  };
}

function assertOwn(followed: Followed, path: string): void {
  assert.deepEqual([followed.body, ...followed.events], [path, 'start', 'head 200', 'data', 'end']);
}

for (const [way, tls] of WAYS) {
  for (const [what, more] of [
    ['another answer', UNASKED],
    ['its first byte', 'H'],
    ['the answer to a request that took too long', answerOf('', 'HTTP/1.1 408 Request Timeout\r\n')],
    ['what is no answer', '\0'],
  ] as const) {
    test(`${what} in the packet of an answer ends the connection, and answers nobody, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(
        t,
        answering((connection, answer) => connection.send(answer + more)),
        { authority },
      );
      const dispatcher = http1Dispatcher(t, authority);
      let next: Followed | undefined;
      const first = follow(
        dispatcher,
        { origin: upstream.origin, path: '/a' },
        {
          onEnd() {
            next = follow(dispatcher, { origin: upstream.origin, path: '/b' });
          },
        },
      );
      assertOwn(await first.over(), '/a');
      assertOwn(await (next as unknown as Followed).over(), '/b');
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.equal(upstream.connections.length, 2);
    });
  }

  test(`what comes as an answer ends is not the answer to the request that is sent then, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      answering((connection, answer) => connection.send(answer)),
      { authority },
    );
    const dispatcher = http1Dispatcher(t, authority);
    let next: Followed | undefined;
    const first = follow(
      dispatcher,
      { origin: upstream.origin, path: '/a' },
      {
        onEnd() {
          upstream.connections[0]?.send(UNASKED);
          next = follow(dispatcher, { origin: upstream.origin, path: '/b' });
        },
      },
    );
    assertOwn(await first.over(), '/a');
    assertOwn(await (next as unknown as Followed).over(), '/b');
    assert.equal(upstream.connections[0]?.isClosed, true);
  });

  for (const [phase, wait] of [
    ['a timer', (then: () => void) => setTimeout(then, 5)],
    ['an immediate', (then: () => void) => setImmediate(then)],
  ] as const) {
    test(`what comes on a free connection before a request is sent in ${phase} is not its answer, by ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(
        t,
        answering((connection, answer) => connection.send(answer)),
        { authority },
      );
      const dispatcher = http1Dispatcher(t, authority);
      assertOwn(await follow(dispatcher, { origin: upstream.origin, path: '/a' }).over(), '/a');
      const next = await new Promise<Followed>((resolve) => {
        wait(() => {
          upstream.connections[0]?.send(UNASKED);
          resolve(follow(dispatcher, { origin: upstream.origin, path: '/b' }));
        });
      });
      assertOwn(await next.over(), '/b');
      assert.equal(upstream.connections.length, 2);
    });
  }

  test(`what comes on a free connection ends it, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      answering((connection, answer) => connection.send(answer)),
      { authority },
    );
    const dispatcher = http1Dispatcher(t, authority);
    assertOwn(await follow(dispatcher, { origin: upstream.origin, path: '/a' }).over(), '/a');
    upstream.connections[0]?.send(UNASKED);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
  });

  test(`what comes after an answer that was held back ends the connection, by ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      answering((connection, answer) => connection.send(answer + UNASKED)),
      { authority },
    );
    const dispatcher = http1Dispatcher(t, authority);
    const first = follow(
      dispatcher,
      { origin: upstream.origin, path: '/a' },
      {
        onData(controller) {
          controller.pause();
          setTimeout(() => controller.resume(), 20);
        },
      },
    );
    assertOwn(await first.over(), '/a');
    assertOwn(await follow(dispatcher, { origin: upstream.origin, path: '/b' }).over(), '/b');
    assert.equal(upstream.connections[0]?.isClosed, true);
  });
}
