import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Replicas, startReplicas, waitUntilShared } from './replicas.ts';
import { startRevoking, waitUntilInSync, waitUntilReady, waitUntilRefused } from './revoking.ts';
import { startCluster, startSentinel } from './topologies.ts';

/** Replicas read everything again once a minute, whatever was lost. */
const FAILOVER_MS = 90_000;

/** Calls of new callers, as long as something else runs. @throws AssertionError if one is not served */
async function callWhile({ costOfCaller }: Pick<Replicas, 'costOfCaller'>, something: Promise<unknown>): Promise<void> {
  let isOver = false;
  const over = something.finally(() => {
    isOver = true;
  });
  let calls = 0;
  while (!isOver) {
    await costOfCaller();
    calls += 1;
  }
  await over;
  assert.ok(calls > 0);
}

test('a failover of Sentinel costs exchanges, and replicas share tokens and revocations before and after it', async (t) => {
  const store = await startSentinel(t);
  const old = await store.primary();
  const replicas = await startRevoking(t, store.shared);
  const { apps, caller, call, logout, add } = replicas;
  await waitUntilShared(replicas);
  const [alice, bob] = [await caller('alice', 's1'), await caller('bob', 's2')];
  assert.equal(await logout(0, 'alice', 's1'), 200);
  await waitUntilRefused(() => call(1, alice));
  await callWhile(replicas, store.failOver());
  assert.equal(await logout(0, 'bob', 's2'), 200);
  await waitUntilRefused(() => call(1, bob), FAILOVER_MS);
  await waitUntilInSync(apps, FAILOVER_MS);
  await waitUntilShared(replicas);
  const primary = await store.primary();
  assert.notEqual(primary.port, old.port);
  assert.ok(Number(await primary.ask('DBSIZE')) > 0);
  await waitUntilReady(await add());
  assert.deepEqual([await call(2, alice), await call(2, bob)], [401, 401]);
});

test('slots of a cluster move while callers call', async (t) => {
  const store = await startCluster(t);
  const replicas = await startReplicas(t, { shared: store.shared });
  await waitUntilShared(replicas);
  const before = replicas.exchanges();
  const tokens = await Promise.all(Array.from({ length: 30 }, () => replicas.newCaller()));
  for (const token of tokens) await replicas.assertServed(0, token);
  await callWhile(replicas, store.moveSlots(500));
  await waitUntilShared(replicas);
  const afterwards = replicas.exchanges();
  assert.ok(afterwards > before);
  // The tokens moved with their slots.
  for (const token of tokens) await replicas.assertServed(1, token);
  assert.equal(replicas.exchanges(), afterwards);
  for (const server of store.servers) assert.ok(Number(await server.ask('DBSIZE')) > 0);
});
