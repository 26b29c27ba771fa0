import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { http1Dispatcher, startBareUpstream, WAYS } from '../../../harness/bare-upstream.ts';
import { eventually } from '../../../harness/eventually.ts';
import { follow } from '../../../harness/followed.ts';

/** Long enough for bytes to arrive over loopback. */
const ARRIVED_MS = 30;

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
