import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Connection } from '../../../../src/transport/http1/connection.ts';
import { createFreeConnections, type FreeConnections } from '../../../../src/transport/http1/free-connections.ts';

interface FakeConnection extends Connection {
  isBroken: boolean;
}

function connection(): FakeConnection {
  const fake: FakeConnection = {
    isBroken: false,
    carry: () => true,
    read() {},
    isOpen: () => !fake.isBroken,
    destroy() {
      fake.isBroken = true;
    },
  };
  return fake;
}

/** Those of a test whose clock goes as it says. */
function freeConnections(t: TestContext): { free: FreeConnections; pass: (ms: number) => void } {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  return {
    free: createFreeConnections(),
    pass(ms) {
      nowMs += ms;
      t.mock.timers.tick(ms);
    },
  };
}

test('the one used last is taken first, and each once', (t) => {
  const { free } = freeConnections(t);
  const [a, b] = [connection(), connection()];
  free.keep(a, 10);
  free.keep(b, 10);
  assert.deepEqual([free.take(0), free.take(0), free.take(0)], [b, a, undefined]);
});

test('none is taken whose time is over, and it is closed', (t) => {
  const { free } = freeConnections(t);
  const [a, b] = [connection(), connection()];
  free.keep(a, 20);
  free.keep(b, 10);
  assert.equal(free.take(10), a);
  assert.equal(b.isBroken, true);
});

test('none is taken that is closed', (t) => {
  const { free } = freeConnections(t);
  const [a, b] = [connection(), connection()];
  free.keep(a, 10);
  free.keep(b, 10);
  b.isBroken = true;
  assert.equal(free.take(0), a);
});

test('those whose time is over are closed within a second, whether one is asked for or not', (t) => {
  const { free, pass } = freeConnections(t);
  const [a, b] = [connection(), connection()];
  free.keep(a, 500);
  free.keep(b, 2_500);
  pass(1_000);
  assert.deepEqual([a.isBroken, b.isBroken], [true, false]);
  pass(2_000);
  assert.equal(b.isBroken, true);
});

test('where none is left nothing ticks, and it ticks again for the next', (t) => {
  const { free, pass } = freeConnections(t);
  const cleared = t.mock.method(globalThis, 'clearInterval');
  free.keep(connection(), 500);
  pass(1_000);
  assert.equal(cleared.mock.callCount(), 1);
  const next = connection();
  free.keep(next, 1_500);
  pass(1_000);
  assert.equal(next.isBroken, true);
  assert.equal(cleared.mock.callCount(), 2);
});

test('all can be closed at once, and nothing ticks then', (t) => {
  const { free } = freeConnections(t);
  const cleared = t.mock.method(globalThis, 'clearInterval');
  const two = [connection(), connection()];
  for (const each of two) free.keep(each, 10);
  free.closeAll();
  assert.ok(two.every(({ isBroken }) => isBroken));
  assert.equal(cleared.mock.callCount(), 1);
  assert.equal(free.take(0), undefined);
});
