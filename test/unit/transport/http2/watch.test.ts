import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ClientHttp2Session } from 'node:http2';
import { type TestContext, test } from 'node:test';
import { type WatchedConnection, watchConnection } from '../../../../src/transport/http2/watch.ts';

const MIB = 1024 * 1024;

/** A watched connection whose numbers a test sets, and the pings that its upstream has not answered. */
function watch(t: TestContext) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const pings: ((error: Error | null) => void)[] = [];
  const session = Object.assign(new EventEmitter(), {
    destroyed: false,
    reason: undefined as string | undefined,
    socket: { bytesRead: 0 },
    state: { outboundQueueSize: 0 },
    ping: (answered: (error: Error | null) => void) => void pings.push(answered),
    destroy(error: Error) {
      session.destroyed = true;
      session.reason = error.message;
    },
  });
  const connection = { streams: 1, uploads: 0, requests: 0, bodyBytes: 0 };
  watchConnection(
    Object.assign(connection, { session: session as unknown as ClientHttp2Session }) as WatchedConnection,
  );
  return { session, connection, pings, check: (times = 1) => times > 0 && t.mock.timers.tick(times * 5000) };
}

test('pings only while there are streams, and again after a response', (t) => {
  const { connection, pings, check, session } = watch(t);
  connection.streams = 0;
  check(10);
  assert.equal(pings.length, 0);
  connection.streams = 1;
  check(3);
  assert.equal(pings.length, 1);
  pings[0]?.(null);
  check();
  assert.deepEqual([pings.length, session.destroyed], [2, false]);
});

test('destroys a connection whose ping gets no response for six intervals', (t) => {
  const { check, session } = watch(t);
  check(6);
  assert.equal(session.destroyed, false);
  check();
  assert.equal(session.reason, 'HTTP/2: the connection is dead: a ping got no response');
});

test('destroys a connection that does not even send a ping, unless an upload fills it', (t) => {
  const { connection, check, session } = watch(t);
  session.state.outboundQueueSize = 1;
  connection.uploads = 1;
  check(2);
  assert.equal(session.destroyed, false);
  connection.uploads = 0;
  check();
  assert.equal(session.reason, 'HTTP/2: the connection is dead: a ping was not sent');
});

test('allows frames for each response and each byte of a body, and no more', (t) => {
  const { connection, pings, check, session } = watch(t);
  const receive = (bytes: number): void => {
    session.socket.bytesRead += bytes;
    check();
    pings.pop()?.(null);
  };
  receive(2 * MIB + 128 * 1024);
  connection.requests += 8;
  receive(3 * MIB + 128 * 1024);
  connection.bodyBytes += MIB;
  receive(67 * MIB + 128 * 1024);
  assert.equal(session.destroyed, false);
  receive(2 * MIB + 128 * 1024 + 1);
  assert.equal(session.reason, 'HTTP/2: the upstream sends too many frames');
});

test('destroys a connection whose upstream names too many origins', (t) => {
  const { session } = watch(t);
  session.emit('origin', ['x'.repeat(32 * 1024), 'x'.repeat(32 * 1024)]);
  assert.equal(session.destroyed, false);
  session.emit('origin', ['x']);
  assert.equal(session.reason, 'HTTP/2: the upstream names too many origins');
});

test('stops checking a closed connection', (t) => {
  const { session, pings, check } = watch(t);
  session.emit('close');
  check(10);
  assert.equal(pings.length, 0);
});
