import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RunningApp } from '../../harness/app.ts';
import { eventually } from '../../harness/eventually.ts';
import { sumSamples } from '../../harness/metric-samples.ts';
import { startCluster } from './cluster.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import { RECONNECT_MS, revocationsOf, startRevoking, waitUntilReady } from './revoking.ts';
import { startStore } from './store-process.ts';

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

const asked = async (app: RunningApp | undefined, result: string) =>
  sumSamples((await app?.metrics()) ?? '', 'cambist_revocations_asked_total', { result });

for (const kind of STORE_KINDS) {
  test(`${kind}: deleting, altering or flooding the kept revocations changes nothing for callers`, async (t) => {
    const store = await startStore({ programs: findStore(kind) });
    t.after(store.close);
    const { apps, caller, call, logout, add } = await startRevoking(t, store.port, 2);
    const [alice, carol] = [await caller('alice', 's1'), await caller('carol', 's2')];
    assert.equal(await logout(0, 'alice', 's1'), 200);
    const attacks: [what: string, command: readonly string[]][] = [
      ['deleted', ['DEL', ...NAMES]],
      ['altered', ['EVAL', ALTER, '2', ...NAMES]],
      ['flooded', ['EVAL', FLOOD, '2', ...NAMES]],
    ];
    for (const [what, command] of attacks) {
      await store.ask(...command);
      const late = await add();
      await waitUntilReady(late);
      const index = apps.length - 1;
      assert.deepEqual([await call(index, alice), await call(index, carol)], [401, 200], what);
      assert.equal(await asked(late, 'replied'), 1, what);
    }
    const before = await Promise.all(apps.map((app) => asked(app, 'replied')));
    await store.ask('CLIENT', 'KILL', 'TYPE', 'pubsub');
    for (const [index, app] of apps.entries()) {
      const isCurrent = async () =>
        (await revocationsOf(app)).in_sync === true && (await asked(app, 'replied')) > (before[index] ?? 0);
      await eventually('it asked again and is in sync', isCurrent, RECONNECT_MS, 250);
      assert.deepEqual([await call(index, alice), await call(index, carol)], [401, 200]);
      assert.ok(!app.logText().includes('refusing all older tokens'));
    }
    // The store has no room, and running replicas learn of a revocation all the same.
    assert.equal(await logout(0, 'carol', 's2'), 200);
    for (const index of apps.keys()) {
      await eventually('carol is refused', async () => (await call(index, carol)) === 401);
    }
  });
}

test('a replica that runs alone waits for no other, and one that starts beside it gets its revocations from it', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const { apps, caller, call, logout, add } = await startRevoking(t, store.port, 1, undefined, false);
  const alice = await caller('alice', 's1');
  assert.equal(await logout(0, 'alice', 's1'), 200);
  await apps[0]?.stop();
  await waitUntilReady(await add());
  assert.equal(await asked(apps[1], 'alone'), 1);
  await store.ask('DEL', ...NAMES);
  await waitUntilReady(await add());
  assert.equal(await call(2, alice), 401);
});

test('a running replica tells many deleted revocations through a Cluster, whatever the order of the messages', async (t) => {
  const store = await startCluster({ programs: findStore('valkey') });
  t.after(store.close);
  const cluster = store.servers.slice(0, 2).map(({ port }) => `127.0.0.1:${port}`);
  const { apps, caller, call, push, add } = await startRevoking(t, { cluster }, 2);
  const users = Array.from({ length: 150 }, (_, at) => `user-${at}`);
  for (const user of users) assert.equal(await push(0, user), 202);
  const carol = await caller('carol', 's1');
  await store.servers[0]?.cli('-c', 'DEL', ...NAMES);
  const late = await add();
  await waitUntilReady(late);
  assert.equal((await revocationsOf(late)).in_force, users.length);
  for (const user of [users.at(0), users.at(-1)]) assert.equal(await call(2, await caller(user ?? '', 's2')), 401);
  assert.equal(await call(2, carol), 200);
  assert.equal(await asked(late, 'replied'), 1);
  for (const app of apps) assert.ok((await asked(app, 'failed')) === 0);
});
