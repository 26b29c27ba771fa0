import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { CambistProcess } from '../../harness/cambist-process.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { freePort } from '../../harness/free-port.ts';
import { type Fleet, type FleetOptions, startFleet, storeStatus, waitForProblem, waitForStore } from './fleet.ts';
import { findStore } from './programs.ts';
import { type StoreProcess, startStore } from './store-process.ts';
import { startTcpProxy } from './tcp-proxy.ts';

const programs = findStore('valkey');

/** Calls after which a breaker must have opened, and more. */
const CALLS = 20;

async function started(t: TestContext, ...config: string[]): Promise<StoreProcess> {
  const store = await startStore({ programs, config });
  t.after(store.close);
  return store;
}

/** Replicas that have reached their store. */
async function startReady(t: TestContext, port: number, more: Partial<FleetOptions> = {}): Promise<Fleet> {
  const fleet = await startFleet(t, { shared: { url: `redis://127.0.0.1:${port}` }, ...more });
  for (const replica of fleet.replicas) await waitForStore(replica);
  return fleet;
}

const replicaOf = (fleet: Fleet): CambistProcess => fleet.replicas[0] as CambistProcess;

/** Each caller is served, by an exchange of each replica. */
async function assertServesAlone(fleet: Fleet): Promise<void> {
  const before = fleet.exchanges();
  const token = await fleet.newCaller();
  for (const replica of fleet.replicas.keys()) await fleet.assertServed(replica, token);
  assert.equal(fleet.exchanges(), before + fleet.replicas.length);
}

/** A caller costs one exchange again. */
async function assertShares(fleet: Fleet): Promise<void> {
  for (const replica of fleet.replicas) await waitForStore(replica);
  const before = fleet.exchanges();
  const token = await fleet.newCaller();
  for (const replica of fleet.replicas.keys()) await fleet.assertServed(replica, token);
  assert.equal(fleet.exchanges(), before + 1);
}

/** Waits for a problem while new callers call. */
function problemWhileCalling(fleet: Fleet, expected: string): Promise<void> {
  return waitForProblem(replicaOf(fleet), expected, async () => {
    await fleet.assertServed(0, await fleet.newCaller());
  });
}

test('a store that was never there stops neither a start nor a request', async (t) => {
  const port = await freePort();
  const fleet = await startFleet(t, { shared: { url: `redis://127.0.0.1:${port}` } });
  await problemWhileCalling(fleet, 'unreachable');
  await assertServesAlone(fleet);
  const store = await startStore({ programs, port });
  t.after(store.close);
  await assertShares(fleet);
});

test('a killed store costs exchanges, and an empty one that replaces it is used again', async (t) => {
  const store = await started(t);
  const fleet = await startReady(t, store.port);
  const known = await fleet.newCaller();
  for (const replica of [0, 1]) await fleet.assertServed(replica, known);
  await assertShares(fleet);
  await store.kill();
  await problemWhileCalling(fleet, 'unreachable');
  await assertServesAlone(fleet);
  const before = fleet.exchanges();
  // In the memory of each replica.
  for (const replica of [0, 1]) await fleet.assertServed(replica, known);
  assert.equal(fleet.exchanges(), before);
  await store.restartEmpty();
  await assertShares(fleet);
});

test('a slow store is waited for until its timeout, and is then not asked for a while', async (t) => {
  const store = await started(t);
  const network = await startTcpProxy(store.port);
  t.after(network.close);
  const fleet = await startReady(t, network.port, { replicas: 1 });
  network.delayMs = 3000;
  await problemWhileCalling(fleet, 'slow');
  await assertAsksRarely(fleet);
  network.delayMs = 0;
  await assertShares(fleet);
});

test('a store that SIGSTOP has stopped is not asked for a while', async (t) => {
  const store = await started(t);
  const network = await startTcpProxy(store.port);
  t.after(network.close);
  const fleet = await startReady(t, network.port, { replicas: 1 });
  store.pause();
  t.after(store.resume);
  await waitForProblem(replicaOf(fleet), 'slow', async () => {
    await fleet.assertServed(0, await fleet.newCaller());
  });
  await assertAsksRarely(fleet);
  store.resume();
  await assertShares(fleet);
});

/** Most operations do not reach the store while its breaker is open. */
async function assertAsksRarely(fleet: Fleet): Promise<void> {
  const timeouts = () => replicaOf(fleet).metric('cambist_shared_cache_operations_total', { result: 'timeout' });
  const before = await timeouts();
  for (let index = 0; index < CALLS; index += 1) await fleet.assertServed(0, await fleet.newCaller());
  assert.ok((await timeouts()) - before < CALLS / 2, `${await timeouts()} timeouts`);
}

test('a full store takes no token, and callers do not notice', async (t) => {
  const store = await started(t, 'maxmemory-policy noeviction');
  const fleet = await startReady(t, store.port);
  await store.ask('CONFIG', 'SET', 'maxmemory', '1');
  await problemWhileCalling(fleet, 'full');
  await assertServesAlone(fleet);
  await store.ask('CONFIG', 'SET', 'maxmemory', '0');
  await assertShares(fleet);
});

test('a read-only store takes no token, and callers do not notice', async (t) => {
  const store = await started(t);
  const fleet = await startReady(t, store.port);
  await store.ask('REPLICAOF', '127.0.0.1', String(await freePort()));
  await problemWhileCalling(fleet, 'read_only');
  await assertServesAlone(fleet);
  await store.ask('REPLICAOF', 'NO', 'ONE');
  await assertShares(fleet);
});

test('a wrong password is named, and the right one is read from the file without a restart', async (t) => {
  const user = { username: 'cambist', password: 'the-right-password', rules: '~cambist:* &cambist:* +@all' };
  const store = await startStore({ programs, user });
  t.after(store.close);
  const fleet = await startFleet(t, {
    shared: (directory) => ({
      url: `redis://127.0.0.1:${store.port}`,
      username: user.username,
      password: { file: join(directory, 'password') },
    }),
    files: { password: 'a-wrong-password' },
  });
  for (const replica of fleet.replicas) await waitForProblem(replica, 'wrong_password');
  await assertServesAlone(fleet);
  await writeFile(join(fleet.directory, 'password'), user.password);
  await assertShares(fleet);
});

test('a user without permissions is named', async (t) => {
  const user = { username: 'cambist', password: 'the-right-password', rules: '~other:* +@all' };
  const store = await startStore({ programs, user });
  t.after(store.close);
  const fleet = await startFleet(t, {
    shared: (directory) => ({
      url: `redis://127.0.0.1:${store.port}`,
      username: user.username,
      password: { file: join(directory, 'password') },
    }),
    files: { password: user.password },
  });
  await problemWhileCalling(fleet, 'no_permission');
  await assertServesAlone(fleet);
});

test('a certificate of another authority is refused, and no password is sent', async (t) => {
  const user = { username: 'cambist', password: 'the-right-password', rules: '~cambist:* +@all' };
  const store = await startStore({ programs, user, tls: createCertificateAuthority() });
  t.after(store.close);
  const fleet = await startFleet(t, {
    shared: (directory) => ({
      url: `rediss://127.0.0.1:${store.port}`,
      username: user.username,
      password: { file: join(directory, 'password') },
      tls: { ca: { file: join(directory, 'ca.pem') } },
    }),
    files: { password: user.password, 'ca.pem': createCertificateAuthority().cert },
  });
  for (const replica of fleet.replicas) await waitForProblem(replica, 'tls');
  await assertServesAlone(fleet);
  assert.equal((await storeStatus(replicaOf(fleet))).available, false);
});
