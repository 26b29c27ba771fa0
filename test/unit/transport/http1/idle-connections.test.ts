import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Connection } from '../../../../src/transport/http1/connection.ts';
import { createIdleConnections, type IdleConnections } from '../../../../src/transport/http1/connections.ts';

interface FakeConnection extends Connection {
  isBroken: boolean;
}

function connection(): FakeConnection {
  const fake: FakeConnection = {
    isBroken: false,
    send: () => true,
    read() {},
    isOpen: () => !fake.isBroken,
    destroy() {
      fake.isBroken = true;
    },
  };
  return fake;
}

/** Idle connections with a clock that the test controls. */
function idleConnections(t: TestContext): { idle: IdleConnections; pass: (ms: number) => void } {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  return {
    idle: createIdleConnections(),
    pass(ms) {
      nowMs += ms;
      t.mock.timers.tick(ms);
    },
  };
}

test('takes the most recently used connection first, and each once', (t) => {
  const { idle } = idleConnections(t);
  const [a, b] = [connection(), connection()];
  idle.add(a, 10);
  idle.add(b, 10);
  assert.deepEqual([idle.take(0), idle.take(0), idle.take(0)], [b, a, undefined]);
});

test('closes an expired connection instead of taking it', (t) => {
  const { idle } = idleConnections(t);
  const [a, b] = [connection(), connection()];
  idle.add(a, 20);
  idle.add(b, 10);
  assert.equal(idle.take(10), a);
  assert.equal(b.isBroken, true);
});

test('takes no closed connection', (t) => {
  const { idle } = idleConnections(t);
  const [a, b] = [connection(), connection()];
  idle.add(a, 10);
  idle.add(b, 10);
  b.isBroken = true;
  assert.equal(idle.take(0), a);
});

test('closes expired connections within a second', (t) => {
  const { idle, pass } = idleConnections(t);
  const [a, b] = [connection(), connection()];
  idle.add(a, 500);
  idle.add(b, 2_500);
  pass(1_000);
  assert.deepEqual([a.isBroken, b.isBroken], [true, false]);
  pass(2_000);
  assert.equal(b.isBroken, true);
});

test('runs a timer only while there are idle connections', (t) => {
  const { idle, pass } = idleConnections(t);
  const cleared = t.mock.method(globalThis, 'clearInterval');
  idle.add(connection(), 500);
  pass(1_000);
  assert.equal(cleared.mock.callCount(), 1);
  const next = connection();
  idle.add(next, 1_500);
  pass(1_000);
  assert.equal(next.isBroken, true);
  assert.equal(cleared.mock.callCount(), 2);
});

test('closes all connections and stops the timer', (t) => {
  const { idle } = idleConnections(t);
  const cleared = t.mock.method(globalThis, 'clearInterval');
  const two = [connection(), connection()];
  for (const each of two) idle.add(each, 10);
  idle.closeAll();
  assert.ok(two.every(({ isBroken }) => isBroken));
  assert.equal(cleared.mock.callCount(), 1);
  assert.equal(idle.take(0), undefined);
});
