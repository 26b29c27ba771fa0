import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { errors } from 'undici';
import { createIdleConnections } from '../../../../src/transport/http1/connections.ts';
import { soon } from '../../../harness/eventually.ts';
import { type Followed, follow, type Reactions, type RequestOptions, SERVED } from '../../../harness/followed.ts';
import { type ManualPool, manualPool, settled } from '../../../harness/manual-pool.ts';

const send = ({ dispatcher }: ManualPool, path = '/', more: RequestOptions = {}, reactions?: Reactions): Followed =>
  follow(dispatcher, { origin: 'http://a.example', path, ...more }, reactions);

/** Sends a request, and waits until the pool has handled it. */
async function ask(manual: ManualPool, path: string): Promise<Followed> {
  const followed = send(manual, path);
  await settled();
  return followed;
}

test('opens a connection for each waiting request, and sends it there', async () => {
  const manual = manualPool();
  const three = [await ask(manual, '/a'), await ask(manual, '/b'), await ask(manual, '/c')];
  assert.equal(manual.pending.length, 3);
  for (const nth of [2, 0, 0]) manual.pending[nth]?.succeed();
  assert.deepEqual(
    manual.connections.map(({ targets }) => targets),
    [['/c'], ['/a'], ['/b']],
  );
  for (const connection of manual.connections) connection.respond();
  await settled();
  for (const { body, events } of three) assert.deepEqual(events, SERVED, body);
});

test('fails only the request whose connection cannot be opened', async () => {
  const manual = manualPool();
  const three = [await ask(manual, '/a'), await ask(manual, '/b'), await ask(manual, '/c')];
  const refused = new Error('refused');
  manual.pending[1]?.fail(refused);
  manual.pending[1]?.succeed();
  manual.pending[0]?.succeed();
  for (const connection of manual.connections) connection.respond();
  await settled();
  assert.deepEqual(
    three.map(({ events }) => events),
    [SERVED, ['error Error'], SERVED],
  );
  assert.equal(three[1]?.error, refused);
});

/** A pool whose second request was sent on the first connection, while the second is still connecting. */
async function withSpareConnection() {
  const manual = manualPool();
  await ask(manual, '/a');
  manual.pending[0]?.succeed();
  const second = await ask(manual, '/b');
  manual.connections[0]?.respond();
  await settled();
  return Object.assign(manual, { second });
}

test('sends a waiting request on a connection that becomes idle first', async () => {
  const { second, connections } = await withSpareConnection();
  connections[0]?.respond();
  await settled();
  assert.deepEqual(second.events, SERVED);
  assert.deepEqual(connections[0]?.targets, ['/a', '/b']);
});

test('fails no request when a spare connection cannot be opened', async () => {
  const manual = await withSpareConnection();
  const third = await ask(manual, '/c');
  manual.pending[0]?.fail();
  await settled();
  assert.deepEqual([manual.second.events, third.events], [['start'], []]);
  manual.connections[0]?.respond();
  manual.pending[0]?.succeed().respond();
  await settled();
  assert.deepEqual([manual.second.events, third.events], [SERVED, SERVED]);
});

test('sends a waiting request on a spare connection, and keeps the next one', async () => {
  const manual = await withSpareConnection();
  const third = await ask(manual, '/c');
  assert.equal(manual.pending.length, 2);
  manual.pending[0]?.succeed().respond();
  await settled();
  assert.deepEqual(third.events, SERVED);
  manual.pending[0]?.succeed();
  await ask(manual, '/d');
  assert.equal(manual.pending.length, 0);
  assert.deepEqual(manual.connections[2]?.targets, ['/d']);
});

test('sends nothing of an invalid request, and uses its connection for the next', async () => {
  const manual = manualPool();
  const bad = await ask(manual, '/ bad');
  const good = await ask(manual, '/good');
  manual.pending[0]?.succeed().respond();
  await settled();
  assert.deepEqual(bad.events, ['error InvalidArgumentError']);
  assert.deepEqual(good.events, SERVED);
  assert.deepEqual(manual.connections[0]?.targets, ['/good']);
});

test('allows a retry from onResponseError', async () => {
  const manual = manualPool();
  const again: Followed[] = [];
  send(manual, '/a', {}, { onError: () => void again.push(send(manual)) });
  await settled();
  manual.pending[0]?.fail();
  await settled();
  assert.equal(manual.emptied, 0);
  manual.pending[0]?.succeed().respond();
  await settled();
  assert.deepEqual(again[0]?.events, SERVED);
});

test('calls onEmpty when there is neither a request nor a connection', async () => {
  const manual = manualPool();
  await ask(manual, '/a');
  manual.pending[0]?.succeed().respond();
  await settled();
  assert.equal(manual.emptied, 0);
  manual.connections[0]?.socket.destroy();
  await settled();
  assert.equal(manual.emptied, 1);
  await ask(manual, '/b');
  manual.pending[0]?.fail();
  assert.equal(manual.emptied, 2);
});

test('ends each request once, by its own response or an error, in any order of events', async () => {
  const other = fc.constantFrom('succeed', 'fail', 'respond', 'break');
  const step = fc.record({ action: fc.oneof(fc.constant('request'), other, fc.constant('wait')), which: fc.nat(7) });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const manual = manualPool();
      const all: Followed[] = [];
      const responded = new Set<string>();
      const unanswered = (): ManualPool['connections'] =>
        manual.connections.filter(({ targets, socket }) => {
          const path = targets.at(-1);
          return !socket.destroyed && path !== undefined && all[Number(path.slice(1))]?.events.join() === 'start';
        });
      for (const { action, which } of steps) {
        const pendingConnection = manual.pending[which % Math.max(manual.pending.length, 1)];
        if (action === 'request') all.push(send(manual, `/${all.length}`));
        if (action === 'succeed') pendingConnection?.succeed();
        if (action === 'fail') pendingConnection?.fail();
        if (action === 'wait') await settled();
        const near = unanswered();
        const connection = near[which % Math.max(near.length, 1)];
        if (action === 'break') connection?.socket.destroy();
        const target = connection?.targets.at(-1);
        if (action === 'respond' && target !== undefined && !responded.has(target)) {
          responded.add(target);
          connection?.respond();
        }
      }
      for (let round = 0; all.some((each) => !/(end|error \w+)$/.test(each.events.join())); round += 1) {
        assert.ok(round < 100, 'a request never ends');
        await settled();
        for (const pendingConnection of [...manual.pending]) pendingConnection.succeed();
        for (const connection of unanswered()) connection.respond();
      }
      await settled();
      for (const [i, { events, body, error }] of all.entries()) {
        const served = events.join() === SERVED.join() && body === `/${i}`;
        const failed = error !== undefined && events.filter((event) => event.startsWith('error')).length === 1;
        assert.ok(served || failed, `${i}: ${events} ${body}`);
      }
      manual.destroy();
      await settled();
      assert.ok(manual.emptied > 0);
      assert.ok(manual.connections.every(({ socket }) => socket.destroyed));
    }),
    { numRuns: 300 },
  );
});

/** A pool with an idle connection, and another with a request in flight. */
async function withIdleConnection() {
  const manual = manualPool();
  await ask(manual, '/idle');
  const inFlight = await ask(manual, '/in-flight');
  manual.pending[0]?.succeed();
  manual.pending[0]?.succeed();
  manual.connections[0]?.respond();
  await settled();
  return Object.assign(manual, { inFlight });
}

test('close lets all requests finish, closes idle connections, and settles then, even if called twice', async () => {
  const manual = await withIdleConnection();
  const opens = send(manual, '/waits');
  const goes = send(manual, '/opens');
  let closed = 0;
  for (let i = 0; i < 2; i += 1) void manual.pool.close().then(() => (closed += 1));
  assert.equal(manual.connections[0]?.socket.destroyed, true);
  await settled();
  while (manual.pending.length > 0) manual.pending[0]?.succeed();
  for (const connection of manual.connections.slice(2)) connection.respond();
  await settled();
  assert.equal(closed, 0);
  manual.connections[1]?.respond();
  await settled();
  for (const { events } of [manual.inFlight, opens, goes]) assert.deepEqual(events, SERVED);
  assert.ok(manual.connections.every(({ socket }) => socket.destroyed));
  assert.equal(closed, 2);
});

test('closes a spare connection that opens while the pool closes', async () => {
  const manual = await withSpareConnection();
  const closed = manual.pool.close();
  manual.connections[0]?.respond();
  await settled();
  manual.pending[0]?.succeed();
  await closed;
  assert.equal(manual.connections[1]?.socket.destroyed, true);
});

test('close settles at once on an empty pool', async () => {
  await soon('the close', manualPool().pool.close());
});

test('destroy fails all requests once, and closes all connections', async () => {
  const manual = await withIdleConnection();
  const onIdle = await ask(manual, '/on-idle');
  const opens = await ask(manual, '/opens');
  const exclusive = send(manual, '/', { upgrade: 'websocket' });
  const waits = send(manual);
  manual.destroy();
  const all = [manual.inFlight, onIdle, opens, exclusive, waits];
  assert.ok(all.every(({ error }) => error instanceof errors.ClientDestroyedError));
  await settled();
  assert.deepEqual(
    all.map(({ events }) => events.join()),
    [
      'start,error ClientDestroyedError',
      'start,error ClientDestroyedError',
      ...Array(3).fill('error ClientDestroyedError'),
    ],
  );
  assert.ok(manual.connections.every(({ socket }) => socket.destroyed));
  assert.ok(manual.emptied > 0);
});

test('close settles when destroy follows it', async () => {
  const manual = manualPool();
  send(manual);
  const closed = manual.pool.close();
  manual.destroy();
  await closed;
  await settled();
  assert.ok(manual.emptied > 0);
});

test('closes expired connections within a second, and runs a timer only while there are idle ones', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let nowMs = 0;
  t.mock.method(performance, 'now', () => nowMs);
  const cleared = t.mock.method(globalThis, 'clearInterval');
  const idle = createIdleConnections();
  const add = (untilMs: number) => {
    const state = { isOpen: true };
    const destroy = (): void => void Object.assign(state, { isOpen: false });
    idle.add({ send: () => true, read() {}, isOpen: () => state.isOpen, destroy }, untilMs);
    return state;
  };
  const [a, b] = [add(500), add(1_500)];
  const pass = (): void => {
    nowMs += 1_000;
    t.mock.timers.tick(1_000);
  };
  pass();
  assert.deepEqual([a.isOpen, b.isOpen, cleared.mock.callCount()], [false, true, 0]);
  pass();
  assert.deepEqual([b.isOpen, cleared.mock.callCount()], [false, 1]);
  const next = add(2_500);
  idle.closeAll();
  assert.deepEqual([next.isOpen, cleared.mock.callCount()], [false, 2]);
  assert.equal(idle.take(nowMs), undefined);
});
