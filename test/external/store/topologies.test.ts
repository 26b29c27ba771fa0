import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startCluster } from './cluster.ts';
import { findStore } from './programs.ts';
import { type Replicas, startReplicas, waitUntilShared } from './replicas.ts';
import { startSentinel } from './sentinel.ts';

/** Calls of new callers, as long as something else runs. @throws AssertionError if one is not served */
async function callWhile(replicas: Replicas, something: Promise<unknown>): Promise<void> {
  let isOver = false;
  const over = something.finally(() => {
    isOver = true;
  });
  let calls = 0;
  while (!isOver) {
    await replicas.costOfCaller();
    calls += 1;
  }
  await over;
  assert.ok(calls > 0);
}

test('a failover of Sentinel costs exchanges, and the new primary is used', async (t) => {
  const store = await startSentinel(t, { programs: findStore('valkey') });
  const old = await store.primary();
  const hosts = store.sentinels.map(({ port }) => `127.0.0.1:${port}`);
  const replicas = await startReplicas(t, { shared: { sentinel: { name: store.name, hosts } } });
  await waitUntilShared(replicas);
  await callWhile(replicas, store.failOver());
  await waitUntilShared(replicas);
  const primary = await store.primary();
  assert.notEqual(primary.port, old.port);
  assert.ok(Number(await primary.ask('DBSIZE')) > 0);
});

test('slots of a cluster move while callers call', async (t) => {
  const store = await startCluster(t, { programs: findStore('valkey') });
  const nodes = store.servers.slice(0, 2).map(({ port }) => `127.0.0.1:${port}`);
  const replicas = await startReplicas(t, { shared: { cluster: nodes, timeout: '5s' } });
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
