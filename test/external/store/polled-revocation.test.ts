import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { createFakeTransmitter } from '../../harness/fake-transmitter.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';
import { findStore } from './programs.ts';
import { RECONNECT_MS, revocationsOf, startRevoking } from './revoking.ts';
import { startStore } from './store-process.ts';

/** Replicas that poll one transmitter, which responds at once, as Keycloak does. */
async function start(t: TestContext, count: number) {
  const folder = temporaryFolder(t);
  const file = join(folder, 'authorization');
  await writeFile(file, 'Bearer of-the-test');
  const transmitter = createFakeTransmitter();
  transmitter.isHasty = true;
  const host = await startFakeAuthorizationServer({ respond: transmitter.respond });
  t.after(host.close);
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const replicas = await startRevoking(t, store.port, count, {
    delivery: 'poll',
    authorization: { file },
    poll_endpoint: `${host.issuer}/ssf/poll`,
  });
  return { ...replicas, store, transmitter };
}

test('an event that one replica polls takes effect at all', async (t) => {
  const { apps, caller, call, event, transmitter } = await start(t, 3);
  const alice = await caller('alice', 's1');
  for (const index of apps.keys()) assert.equal(await call(index, alice), 200);
  const startedMs = performance.now();
  transmitter.offer('event-1', await event('alice'));
  for (const index of apps.keys()) {
    await eventually('alice is refused', async () => (await call(index, alice)) === 401);
  }
  t.diagnostic(`all replicas refused after ${Math.round(performance.now() - startedMs)} ms`);
  await eventually('it is acknowledged', () => transmitter.pending.size === 0);
});

test('while the store is away, each replica gets a polled event from the transmitter', async (t) => {
  const { apps, caller, call, event, store, transmitter } = await start(t, 2);
  const alice = await caller('alice', 's1');
  for (const index of apps.keys()) assert.equal(await call(index, alice), 200);
  await store.kill();
  await eventually('it is seen', async () => (await revocationsOf(apps[0])).in_sync === false);
  await eventually('it is seen', async () => (await revocationsOf(apps[1])).in_sync === false);
  transmitter.offer('event-1', await event('alice'));
  for (const index of apps.keys()) {
    await eventually('alice is refused', async () => (await call(index, alice)) === 401);
  }
  assert.equal(transmitter.pending.size, 1);
  await store.restartEmpty();
  await eventually('it is acknowledged', () => transmitter.pending.size === 0, RECONNECT_MS);
  for (const app of apps) {
    await eventually('nothing waits', async () => (await revocationsOf(app)).unshared === 0, RECONNECT_MS);
  }
});
