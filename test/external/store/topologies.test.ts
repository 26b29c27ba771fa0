import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { type ClusterStore, startCluster } from './cluster.ts';
import { type Fleet, startFleet, waitForStore } from './fleet.ts';
import { findStore } from './programs.ts';
import { startSentinel } from './sentinel.ts';

/** Calls of new callers, as long as something else runs. @throws AssertionError if one is not served */
async function callWhile(fleet: Fleet, something: Promise<unknown>): Promise<void> {
  let isOver = false;
  const over = something.finally(() => {
    isOver = true;
  });
  let calls = 0;
  while (!isOver) {
    const token = await fleet.newCaller();
    for (const replica of fleet.replicas.keys()) await fleet.assertServed(replica, token);
    calls += 1;
  }
  await over;
  assert.ok(calls > 0);
}

/** A caller costs one exchange again. */
async function waitUntilShared(fleet: Fleet): Promise<void> {
  for (const replica of fleet.replicas) await waitForStore(replica);
  const isShared = async (): Promise<boolean> => {
    const before = fleet.exchanges();
    const token = await fleet.newCaller();
    for (const replica of fleet.replicas.keys()) await fleet.assertServed(replica, token);
    return fleet.exchanges() === before + 1;
  };
  await eventually('a caller is exchanged once', isShared, 20_000);
}

test('a failover of Sentinel costs exchanges, and the new primary is used', async (t) => {
  const store = await startSentinel({ programs: findStore('valkey') });
  t.after(store.close);
  const old = await store.primary();
  const hosts = store.sentinels.map(({ port }) => `127.0.0.1:${port}`);
  const fleet = await startFleet(t, { shared: { sentinel: { name: store.name, hosts } } });
  await waitUntilShared(fleet);
  await callWhile(fleet, store.failOver());
  await waitUntilShared(fleet);
  const primary = await store.primary();
  assert.notEqual(primary.port, old.port);
  assert.ok(Number(await primary.ask('DBSIZE')) > 0);
});

test('slots of a cluster move while callers call', async (t) => {
  const store: ClusterStore = await startCluster({ programs: findStore('valkey') });
  t.after(store.close);
  const nodes = store.servers.slice(0, 2).map(({ port }) => `127.0.0.1:${port}`);
  const fleet = await startFleet(t, { shared: { cluster: nodes } });
  await waitUntilShared(fleet);
  const before = fleet.exchanges();
  const tokens = await Promise.all(Array.from({ length: 30 }, () => fleet.newCaller()));
  for (const token of tokens) await fleet.assertServed(0, token);
  await callWhile(fleet, store.moveSlots(500));
  const afterwards = fleet.exchanges();
  assert.ok(afterwards > before);
  // The tokens moved with their slots.
  for (const token of tokens) await fleet.assertServed(1, token);
  assert.equal(fleet.exchanges(), afterwards);
  await waitUntilShared(fleet);
  for (const server of store.servers) assert.ok(Number(await server.ask('DBSIZE')) > 0);
});
