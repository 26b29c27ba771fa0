import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { errors } from 'undici';
import { type Followed, follow } from '../../../harness/followed.ts';
import { type PoolByHand, poolByHand, settled } from '../../../harness/opened-by-hand.ts';

const SERVED = ['start', 'head 200', 'data', 'end'];

/** Sends a request, and waits until the pool has seen to it. */
async function ask({ dispatcher }: PoolByHand, path: string): Promise<Followed> {
  const followed = follow(dispatcher, { origin: 'http://a.example', path });
  await settled();
  return followed;
}

test('each request that waits has a connection opened for it, and goes out on that, whichever comes first', async () => {
  const byHand = poolByHand();
  const three = [await ask(byHand, '/a'), await ask(byHand, '/b'), await ask(byHand, '/c')];
  assert.equal(byHand.openings.length, 3);
  for (const nth of [2, 0, 0]) byHand.openings[nth]?.succeed();
  assert.deepEqual(
    byHand.connections.map(({ targets }) => targets),
    [['/c'], ['/a'], ['/b']],
  );
  for (const connection of byHand.connections) connection.answer();
  await settled();
  for (const { body, events } of three) assert.deepEqual(events, SERVED, body);
});

test('a connection that cannot be opened fails the request that it was for, and no other', async () => {
  const byHand = poolByHand();
  const three = [await ask(byHand, '/a'), await ask(byHand, '/b'), await ask(byHand, '/c')];
  const refused = new Error('refused');
  byHand.openings[1]?.fail(refused);
  byHand.openings[1]?.succeed();
  byHand.openings[0]?.succeed();
  for (const connection of byHand.connections) connection.answer();
  await settled();
  assert.deepEqual(
    three.map(({ events }) => events),
    [SERVED, ['error Error'], SERVED],
  );
  assert.equal(three[1]?.error, refused);
  assert.deepEqual(byHand.connectionErrors, [refused]);
});

test('a request that waits goes out on a connection that is free before its own is there', async () => {
  const byHand = poolByHand();
  await ask(byHand, '/a');
  byHand.openings[0]?.succeed();
  const second = await ask(byHand, '/b');
  byHand.connections[0]?.answer();
  await settled();
  byHand.connections[0]?.answer();
  await settled();
  assert.deepEqual(second.events, SERVED);
  assert.deepEqual(byHand.connections[0]?.targets, ['/a', '/b']);
});

/** Its second request was served on the first connection, while the second still opens. */
async function servedMeanwhile(): Promise<PoolByHand & { second: Followed }> {
  const byHand = poolByHand();
  await ask(byHand, '/a');
  byHand.openings[0]?.succeed();
  const second = await ask(byHand, '/b');
  byHand.connections[0]?.answer();
  await settled();
  return Object.assign(byHand, { second });
}

test('a connection that cannot be opened any more fails nobody where its request has gone out on another', async () => {
  const byHand = await servedMeanwhile();
  const third = await ask(byHand, '/c');
  byHand.openings[0]?.fail();
  await settled();
  assert.deepEqual([byHand.second.events, third.events], [['start'], []]);
  byHand.connections[0]?.answer();
  byHand.openings[0]?.succeed().answer();
  await settled();
  assert.deepEqual([byHand.second.events, third.events], [SERVED, SERVED]);
});

test('a connection whose request has gone out on another serves who waits, whose own then waits for the next', async () => {
  const byHand = await servedMeanwhile();
  const third = await ask(byHand, '/c');
  assert.equal(byHand.openings.length, 2);
  byHand.openings[0]?.succeed().answer();
  await settled();
  assert.deepEqual(third.events, SERVED);
  byHand.openings[0]?.succeed();
  await ask(byHand, '/d');
  assert.equal(byHand.openings.length, 0);
  assert.deepEqual(byHand.connections[2]?.targets, ['/d']);
});

test('a connection whose request is refused as it is written serves the next, and nothing of it went out', async () => {
  const byHand = poolByHand();
  const bad = await ask(byHand, '/ bad');
  const good = await ask(byHand, '/good');
  byHand.openings[0]?.succeed().answer();
  await settled();
  assert.deepEqual(bad.events, ['error InvalidArgumentError']);
  assert.deepEqual(good.events, SERVED);
  assert.deepEqual(byHand.connections[0]?.targets, ['/good']);
});

test('a request that fails as its connection does may be sent again at once', async () => {
  const byHand = poolByHand();
  let again: Followed | undefined;
  const request = { origin: 'http://a.example', path: '/a' };
  follow(byHand.dispatcher, request, {
    onError() {
      again = follow(byHand.dispatcher, request);
    },
  });
  await settled();
  byHand.openings[0]?.fail();
  await settled();
  assert.equal(byHand.emptied, 0);
  byHand.openings[0]?.succeed().answer();
  await settled();
  assert.deepEqual(again?.events, SERVED);
});

test('a pool says that it is empty once there is neither a request nor a connection', async () => {
  const byHand = poolByHand();
  await ask(byHand, '/a');
  byHand.openings[0]?.succeed().answer();
  await settled();
  assert.equal(byHand.emptied, 0);
  byHand.connections[0]?.socket.destroy();
  await settled();
  assert.equal(byHand.emptied, 1);
});

test('whatever comes in whatever order, each request is served or failed once, and by its own answer', async () => {
  const step = fc.oneof(
    fc.record({ does: fc.constant('ask' as const) }),
    fc.record({ does: fc.constantFrom('succeed', 'fail', 'answer', 'break') as fc.Arbitrary<Doing>, which: fc.nat(7) }),
    fc.record({ does: fc.constant('wait' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const byHand = poolByHand();
      const all: Followed[] = [];
      const busy = new Map<string, PoolByHand['connections'][number]>();
      const answerable = (): PoolByHand['connections'] =>
        byHand.connections.filter(({ targets, socket }) => {
          const path = targets.at(-1);
          return !socket.destroyed && path !== undefined && all[Number(path.slice(1))]?.events.join() === 'start';
        });
      for (const { does, which = 0 } of steps as { does: Doing | 'ask' | 'wait'; which?: number }[]) {
        const opening = byHand.openings[which % Math.max(byHand.openings.length, 1)];
        if (does === 'ask') all.push(follow(byHand.dispatcher, { origin: 'http://a.example', path: `/${all.length}` }));
        if (does === 'succeed') opening?.succeed();
        if (does === 'fail') opening?.fail();
        if (does === 'wait') await settled();
        const near = answerable();
        const connection = near[which % Math.max(near.length, 1)];
        if (does === 'break') connection?.socket.destroy();
        if (
          does === 'answer' &&
          connection !== undefined &&
          busy.get(connection.targets.at(-1) as string) === undefined
        ) {
          busy.set(connection.targets.at(-1) as string, connection);
          connection.answer();
        }
      }
      for (let round = 0; all.some((each) => !/(end|error \w+)$/.test(each.events.join())); round += 1) {
        assert.ok(round < 100, 'a request waits for ever');
        await settled();
        for (const opening of [...byHand.openings]) opening.succeed();
        for (const connection of answerable()) connection.answer();
      }
      await settled();
      for (const [i, { events, body, error }] of all.entries()) {
        const served = events.join() === SERVED.join() && body === `/${i}`;
        const failed = error !== undefined && events.filter((event) => event.startsWith('error')).length === 1;
        assert.ok(served || failed, `${i}: ${events} ${body}`);
      }
      byHand.destroy();
      await settled();
      assert.ok(byHand.emptied > 0);
      assert.ok(byHand.connections.every(({ socket }) => socket.destroyed));
    }),
    { numRuns: 300 },
  );
});

type Doing = 'succeed' | 'fail' | 'answer' | 'break';

test('close lets what waits, opens and is under way end, closes what is free, and settles then, however often it is asked', async () => {
  const byHand = poolByHand();
  await ask(byHand, '/free');
  const underWay = await ask(byHand, '/under-way');
  byHand.openings[0]?.succeed();
  byHand.openings[0]?.succeed();
  byHand.connections[0]?.answer();
  await settled();
  const opens = follow(byHand.dispatcher, { origin: 'http://a.example', path: '/waits' });
  const goes = follow(byHand.dispatcher, { origin: 'http://a.example', path: '/opens' });
  let closed = 0;
  for (let i = 0; i < 2; i += 1) void byHand.pool.close().then(() => (closed += 1));
  assert.equal(byHand.connections[0]?.socket.destroyed, true);
  await settled();
  while (byHand.openings.length > 0) byHand.openings[0]?.succeed();
  for (const connection of byHand.connections.slice(2)) connection.answer();
  await settled();
  assert.equal(closed, 0);
  byHand.connections[1]?.answer();
  await settled();
  for (const { events } of [underWay, opens, goes]) assert.deepEqual(events, SERVED);
  assert.ok(byHand.connections.every(({ socket }) => socket.destroyed));
  assert.equal(closed, 2);
});

test('a connection that turns out not to be needed while the pool closes is closed', async () => {
  const byHand = await servedMeanwhile();
  const closed = byHand.pool.close();
  byHand.connections[0]?.answer();
  await settled();
  byHand.openings[0]?.succeed();
  await closed;
  assert.equal(byHand.connections[1]?.socket.destroyed, true);
});

test('close of a pool that has nothing settles at once', async () => {
  await poolByHand().pool.close();
});

test('destroy fails what waits, opens and is under way, at once and once, and closes what is there', async () => {
  const byHand = poolByHand();
  await ask(byHand, '/free');
  const underWay = await ask(byHand, '/under-way');
  byHand.openings[0]?.succeed();
  byHand.openings[0]?.succeed();
  byHand.connections[0]?.answer();
  await settled();
  const onFree = await ask(byHand, '/on-free');
  const opens = await ask(byHand, '/opens');
  const alone = follow(byHand.dispatcher, { origin: 'http://a.example', upgrade: 'websocket' });
  const waits = follow(byHand.dispatcher, { origin: 'http://a.example' });
  byHand.destroy();
  const all = [underWay, onFree, opens, alone, waits];
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
  assert.ok(byHand.connections.every(({ socket }) => socket.destroyed));
  assert.ok(byHand.emptied > 0);
});

test('close settles where destroy follows it, though nothing but a request that waits was there', async () => {
  const byHand = poolByHand();
  follow(byHand.dispatcher, { origin: 'http://a.example' });
  const closed = byHand.pool.close();
  byHand.destroy();
  await closed;
  await settled();
  assert.ok(byHand.emptied > 0);
});
