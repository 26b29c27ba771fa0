import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningApp } from '../../harness/app.ts';
import { eventually } from '../../harness/eventually.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import {
  RECONNECT_MS,
  revocationsOf,
  startRevoking,
  waitUntilInSync,
  waitUntilReady,
  waitUntilRefused,
} from './revoking.ts';
import { startStore } from './store-process.ts';
import { startCluster, startSentinel } from './topologies.ts';

const NAMES = ['cambist:{records}', 'cambist:{records}:values'];
/** Replaces every record. */
const ALTER = `
for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do redis.call('HSET', KEYS[2], name, 'altered') end
return 1
`;
/** As many records as there may be, which expire last. */
const FLOOD = `
redis.call('DEL', KEYS[1], KEYS[2])
for i = 1, 100000 do
  redis.call('ZADD', KEYS[1], 9000000000000, 'junk' .. i)
  redis.call('HSET', KEYS[2], 'junk' .. i, 'junk')
end
return 1
`;
/** Less than the pause between two readings, so that only the closed connections explain another one. */
const REFRESH_MS = 40_000;
const DISCONNECT = ['CLIENT', 'KILL', 'TYPE', 'pubsub'];

/** Waits until replicas have noticed the lost connections, and have reconciled. */
async function reconciled(apps: readonly RunningApp[]): Promise<void> {
  for (const app of apps) {
    await eventually('it noticed', () => app.logText().includes('shared cache is unavailable'), RECONNECT_MS);
  }
  await waitUntilInSync(apps);
}

for (const kind of STORE_KINDS) {
  for (const [what, command] of [
    ['deleted', ['DEL', ...NAMES]],
    ['altered', ['EVAL', ALTER, '2', ...NAMES]],
  ] as const) {
    test(`${kind}: running replicas write records again that were ${what}, and one that starts waits for that`, async (t) => {
      const store = await startStore(t, { programs: findStore(kind) });
      const { apps, caller, call, logout, add } = await startRevoking(t, store.port);
      const [alice, carol] = [await caller('alice', 's1'), await caller('carol', 's2')];
      assert.equal(await logout(0, 'alice', 's1'), 200);
      await store.ask(...command);
      await store.ask(...DISCONNECT);
      await waitUntilReady(await add());
      await reconciled(apps.slice(0, 2));
      for (const index of apps.keys()) {
        assert.deepEqual([await call(index, alice), await call(index, carol)], [401, 200]);
      }
      await waitUntilReady(await add());
      assert.deepEqual([await call(3, alice), await call(3, carol)], [401, 200]);
    });
  }

  test(`${kind}: a replica that starts refuses older tokens while the store is full, and running ones go on`, async (t) => {
    const store = await startStore(t, { programs: findStore(kind) });
    const { apps, caller, call, logout, add } = await startRevoking(t, store.port);
    const [alice, carol] = [await caller('alice', 's1'), await caller('carol', 's2')];
    assert.equal(await logout(0, 'alice', 's1'), 200);
    await store.ask('EVAL', FLOOD, '2', ...NAMES);
    const late = await add();
    await waitUntilReady(late);
    assert.deepEqual([await call(2, alice), await call(2, carol)], [401, 401]);
    assert.ok(late.logText().includes('refusing all older tokens'));
    for (const index of [0, 1]) assert.deepEqual([await call(index, alice), await call(index, carol)], [401, 200]);
    // The store has no room, and running replicas learn of a revocation all the same.
    assert.equal(await logout(0, 'carol', 's2'), 200);
    for (const index of apps.keys()) {
      await waitUntilRefused(() => call(index, carol));
    }
  });
}

for (const [topology, start] of [
  ['Cluster', startCluster],
  ['Sentinel', startSentinel],
] as const) {
  test(`running replicas write many deleted revocations again after ${topology} closed their connections, and one alone gets them`, async (t) => {
    const { shared, servers } = await start(t);
    const ask = async (...command: string[]) => (await servers[0]?.cli('-c', ...command)) ?? '';
    const { apps, caller, call, push, add } = await startRevoking(t, shared);
    const users = Array.from({ length: 150 }, (_, at) => `user-${at}`);
    for (const user of users) assert.equal(await push(0, user), 202);
    const [first, carol] = [await caller('user-0', 's1'), await caller('carol', 's1')];
    await waitUntilRefused(() => call(1, first));
    await ask('DEL', ...NAMES);
    for (const server of servers) await server.ask(...DISCONNECT);
    // The mark follows the last of them.
    const areStored = async () => Number(await ask('HLEN', NAMES[1] ?? '')) > users.length;
    await eventually('they are stored again', areStored, REFRESH_MS, 250);
    const late = await add();
    await waitUntilReady(late);
    assert.equal((await revocationsOf(late)).in_force, users.length);
    const last = await caller(users.at(-1) ?? '', 's2');
    assert.deepEqual([await call(2, first), await call(2, last), await call(2, carol)], [401, 401, 200]);
    for (const app of apps) await app.stop();
    await waitUntilReady(await add());
    assert.deepEqual([await call(3, first), await call(3, carol)], [401, 200]);
  });
}
