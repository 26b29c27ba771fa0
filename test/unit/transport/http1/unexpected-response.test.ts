import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type BareConnection,
  http1Dispatcher,
  type OnRequest,
  responseOf,
  startBareUpstream,
  WAYS,
} from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { type Followed, follow } from '../../../harness/followed.ts';

const UNEXPECTED = responseOf('unexpected');

/** Responds with the target. The first response on each connection is sent by the test. */
function responding(first: (connection: BareConnection, response: string) => void): OnRequest {
  const seen = new Set<BareConnection>();
  return (connection, headers) => {
    const response = responseOf(headers.split(' ')[1] as string);
    if (seen.has(connection)) connection.send(response);
    else first(connection, response);
    seen.add(connection);
  };
}

function assertOwn(followed: Followed, path: string): void {
  assert.deepEqual([followed.body, ...followed.events], [path, 'start', 'response 200', 'data', 'end']);
}

for (const [way, tls] of WAYS) {
  for (const [what, more] of [
    ['another response', UNEXPECTED],
    ['the first byte of one', 'H'],
    ['a 408', responseOf('', 'HTTP/1.1 408 Request Timeout\r\n')],
    ['a byte that is not HTTP', '\0'],
  ] as const) {
    test(`closes a connection on which ${what} follows a response in the same packet, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(
        t,
        responding((connection, response) => connection.send(response + more)),
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
      assertOwn(await first.ended(), '/a');
      assertOwn(await (next as unknown as Followed).ended(), '/b');
      await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
      assert.equal(upstream.connections.length, 2);
    });
  }

  test(`does not read bytes that arrive at the end of a response as the next response, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      responding((connection, response) => connection.send(response)),
      { authority },
    );
    const dispatcher = http1Dispatcher(t, authority);
    let next: Followed | undefined;
    const first = follow(
      dispatcher,
      { origin: upstream.origin, path: '/a' },
      {
        onEnd() {
          upstream.connections[0]?.send(UNEXPECTED);
          next = follow(dispatcher, { origin: upstream.origin, path: '/b' });
        },
      },
    );
    assertOwn(await first.ended(), '/a');
    assertOwn(await (next as unknown as Followed).ended(), '/b');
    assert.equal(upstream.connections[0]?.isClosed, true);
  });

  for (const [phase, wait] of [
    ['a timer', (then: () => void) => setTimeout(then, 5)],
    ['an immediate', (then: () => void) => setImmediate(then)],
  ] as const) {
    test(`does not read bytes on an idle connection as the response to a request sent in ${phase}, over ${way}`, async (t) => {
      const authority = tls?.();
      const upstream = await startBareUpstream(
        t,
        responding((connection, response) => connection.send(response)),
        { authority },
      );
      const dispatcher = http1Dispatcher(t, authority);
      assertOwn(await follow(dispatcher, { origin: upstream.origin, path: '/a' }).ended(), '/a');
      const next = await new Promise<Followed>((resolve) => {
        wait(() => {
          upstream.connections[0]?.send(UNEXPECTED);
          resolve(follow(dispatcher, { origin: upstream.origin, path: '/b' }));
        });
      });
      assertOwn(await next.ended(), '/b');
      assert.equal(upstream.connections.length, 2);
    });
  }

  test(`closes an idle connection on which bytes arrive, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      responding((connection, response) => connection.send(response)),
      { authority },
    );
    const dispatcher = http1Dispatcher(t, authority);
    assertOwn(await follow(dispatcher, { origin: upstream.origin, path: '/a' }).ended(), '/a');
    upstream.connections[0]?.send(UNEXPECTED);
    await eventually('the connection is closed', () => upstream.connections[0]?.isClosed === true);
  });

  test(`closes a connection on which bytes follow a paused response, over ${way}`, async (t) => {
    const authority = tls?.();
    const upstream = await startBareUpstream(
      t,
      responding((connection, response) => connection.send(response + UNEXPECTED)),
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
    assertOwn(await first.ended(), '/a');
    assertOwn(await follow(dispatcher, { origin: upstream.origin, path: '/b' }).ended(), '/b');
    assert.equal(upstream.connections[0]?.isClosed, true);
  });
}
