import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { CambistProcess } from '../../harness/cambist-process.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { freePort } from '../../harness/free-port.ts';
import { type Fleet, startFleet, storeStatus, waitForProblem, waitForStore } from './fleet.ts';
import { findStore } from './programs.ts';
import { startStore } from './store-process.ts';
import { startTcpProxy } from './tcp-proxy.ts';

const programs = findStore('valkey');

/** Calls after which a breaker must have opened, and more. */
const CALLS = 20;

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

test('a store that is away stops neither a start nor a request', async (t) => {
  const port = await freePort();
  const fleet = await startFleet(t, { shared: { url: `redis://127.0.0.1:${port}` } });

  await t.test('replicas serve alone while the store has not started yet', async () => {
    await problemWhileCalling(fleet, 'unreachable');
    await assertServesAlone(fleet);
  });

  const store = await startStore({ programs, port });
  t.after(store.close);

  await t.test(
    'replicas serve alone while the store is killed, and share again when an empty one replaces it',
    async () => {
      await assertShares(fleet);
      const known = await fleet.newCaller();
      for (const replica of [0, 1]) await fleet.assertServed(replica, known);
      await store.kill();
      await problemWhileCalling(fleet, 'unreachable');
      await assertServesAlone(fleet);
      const before = fleet.exchanges();
      // In the memory of each replica.
      for (const replica of [0, 1]) await fleet.assertServed(replica, known);
      assert.equal(fleet.exchanges(), before);
      await store.restartEmpty();
      await assertShares(fleet);
      const logged = (expected: string) =>
        replicaOf(fleet)
          .logs()
          .filter(({ msg }) => msg === expected).length;
      for (const expected of ['shared cache is unavailable; exchanging without it', 'shared cache is available'])
        await eventually(`the log has two lines "${expected}"`, () => logged(expected) >= 2);
    },
  );
});

test('callers do not notice a store that responds late, not at all, or with an error', async (t) => {
  const store = await startStore({ programs, config: ['maxmemory-policy noeviction'] });
  t.after(store.close);
  const network = await startTcpProxy(store.port);
  t.after(network.close);
  const fleet = await startFleet(t, { shared: { url: `redis://127.0.0.1:${network.port}` } });
  for (const replica of fleet.replicas) await waitForStore(replica);

  await t.test('a slow one is waited for until its timeout, and is then not asked for a while', async () => {
    network.delayMs = 3000;
    await problemWhileCalling(fleet, 'slow');
    await assertAsksRarely(fleet);
    network.delayMs = 0;
    await assertShares(fleet);
  });

  await t.test('one that SIGSTOP has stopped is not asked for a while', async () => {
    store.pause();
    await problemWhileCalling(fleet, 'slow');
    await assertAsksRarely(fleet);
    store.resume();
    await assertShares(fleet);
  });

  await t.test('a full one takes no token', async () => {
    await store.ask('CONFIG', 'SET', 'maxmemory', '1');
    await problemWhileCalling(fleet, 'full');
    await assertServesAlone(fleet);
    await store.ask('CONFIG', 'SET', 'maxmemory', '0');
    await assertShares(fleet);
  });

  await t.test('a read-only one takes no token', async () => {
    await store.ask('REPLICAOF', '127.0.0.1', String(await freePort()));
    await problemWhileCalling(fleet, 'read_only');
    await assertServesAlone(fleet);
    await store.ask('REPLICAOF', 'NO', 'ONE');
    await assertShares(fleet);
  });
});

/** Most operations do not reach the store while its breaker is open. */
async function assertAsksRarely(fleet: Fleet): Promise<void> {
  const timeouts = () => replicaOf(fleet).metric('cambist_shared_cache_operations_total', { result: 'timeout' });
  const before = await timeouts();
  for (let index = 0; index < CALLS; index += 1) await fleet.assertServed(0, await fleet.newCaller());
  assert.ok((await timeouts()) - before < CALLS / 2, `${await timeouts()} timeouts`);
}

test('a wrong password and a missing permission are named, and both are fixed without a restart', async (t) => {
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
  for (const secret of [user.password, 'a-wrong-password']) fleet.leaks.remember(secret);

  await t.test('the right password is read from the file', async () => {
    for (const replica of fleet.replicas) await waitForProblem(replica, 'wrong_password');
    await assertServesAlone(fleet);
    await writeFile(join(fleet.directory, 'password'), user.password);
    await assertShares(fleet);
  });

  await t.test('a user without permission for the keys', async () => {
    await store.ask('ACL', 'SETUSER', user.username, 'resetkeys', '~other:*');
    await problemWhileCalling(fleet, 'no_permission');
    await assertServesAlone(fleet);
    await store.ask('ACL', 'SETUSER', user.username, '~cambist:*');
    await assertShares(fleet);
  });

  fleet.leaks.assertNoLeak({ logs: fleet.replicas.map((replica) => replica.stdout()).join('\n') });
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
