import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { RunningApp } from '../../harness/app.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { freePort } from '../../harness/http-server.ts';
import { route, runDoctor } from '../../integration/doctor-run.ts';
import {
  asUser,
  metricOf,
  type Replicas,
  startReplicas,
  storeStatus,
  waitForProblem,
  waitForStore,
  waitUntilShared,
} from './replicas.ts';
import { startStore } from './store-process.ts';
import { startTcpProxy } from './tcp-proxy.ts';

/** Calls after which a breaker must have opened, and more. */
const CALLS = 20;

/** Each caller is served, by an exchange of each replica. */
async function assertServesAlone(replicas: Replicas): Promise<void> {
  assert.equal(await replicas.costOfCaller(), replicas.apps.length);
}

const firstOf = ({ apps }: Replicas) => apps[0] as RunningApp;

/** Waits for a problem while new callers call. */
function problemWhileCalling(replicas: Replicas, expected: string): Promise<void> {
  return waitForProblem(firstOf(replicas), expected, async () => {
    await replicas.assertServed(0, await replicas.newCaller());
  });
}

test('a store that is away stops neither a start nor a request', async (t) => {
  const port = await freePort();
  const replicas = await startReplicas(t, { shared: { url: `redis://127.0.0.1:${port}` } });

  await t.test('replicas serve alone while the store has not started yet', async () => {
    await problemWhileCalling(replicas, 'unreachable');
    await assertServesAlone(replicas);
  });

  const store = await startStore(t, { port });

  await t.test(
    'replicas serve alone while the store is killed, and share again when an empty one replaces it',
    async () => {
      await waitUntilShared(replicas);
      const known = await replicas.newCaller();
      for (const replica of [0, 1]) await replicas.assertServed(replica, known);
      await store.kill();
      await problemWhileCalling(replicas, 'unreachable');
      await assertServesAlone(replicas);
      const before = replicas.exchanges();
      // In the memory of each replica.
      for (const replica of [0, 1]) await replicas.assertServed(replica, known);
      assert.equal(replicas.exchanges(), before);
      await store.restartEmpty();
      await waitUntilShared(replicas);
      const logged = (expected: string) => firstOf(replicas).logs.filter(({ msg }) => msg === expected).length;
      for (const expected of ['shared cache is unavailable; exchanging without it', 'shared cache is available'])
        await eventually(`the log has two lines "${expected}"`, () => logged(expected) >= 2);
    },
  );
});

test('callers do not notice a store that responds late, not at all, or with an error', async (t) => {
  const store = await startStore(t, { config: ['maxmemory-policy noeviction'] });
  const network = await startTcpProxy(t, store.port);
  const replicas = await startReplicas(t, { shared: { url: `redis://127.0.0.1:${network.port}` } });
  await waitForStore(replicas);

  await t.test('a slow one is waited for until its timeout, and is then not asked for a while', async () => {
    network.delayMs = 3000;
    await problemWhileCalling(replicas, 'slow');
    await assertAsksRarely(replicas);
    network.delayMs = 0;
    await waitUntilShared(replicas);
  });

  await t.test('one that SIGSTOP has stopped is not asked for a while', async () => {
    store.pause();
    await problemWhileCalling(replicas, 'slow');
    await assertAsksRarely(replicas);
    store.resume();
    await waitUntilShared(replicas);
  });

  await t.test('a full one takes no token', async () => {
    await store.ask('CONFIG', 'SET', 'maxmemory', '1');
    await problemWhileCalling(replicas, 'full');
    await assertServesAlone(replicas);
    await store.ask('CONFIG', 'SET', 'maxmemory', '0');
    await waitUntilShared(replicas);
  });

  await t.test('a read-only one takes no token', async () => {
    await store.ask('REPLICAOF', '127.0.0.1', String(await freePort()));
    await problemWhileCalling(replicas, 'read_only');
    await assertServesAlone(replicas);
    await store.ask('REPLICAOF', 'NO', 'ONE');
    await waitUntilShared(replicas);
  });
});

/** Most operations do not reach the store while its breaker is open. */
async function assertAsksRarely(replicas: Replicas): Promise<void> {
  const timeouts = () => metricOf(firstOf(replicas), 'cambist_shared_cache_operations_total', { result: 'timeout' });
  const before = await timeouts();
  for (let index = 0; index < CALLS; index += 1) await replicas.assertServed(0, await replicas.newCaller());
  assert.ok((await timeouts()) - before < CALLS / 2, `${await timeouts()} timeouts`);
}

test('a wrong password and a missing permission are named, and both are fixed without a restart', async (t) => {
  const user = { password: 'the-right-password', rules: '~cambist:* &cambist:* +@all' };
  const store = await startStore(t, { user });
  const replicas = await startReplicas(t, {
    shared: (directory) => asUser(store.port, directory),
    files: { password: 'a-wrong-password' },
  });
  replicas.leaks.remember(user.password);

  await t.test('the right password is read from the file', async () => {
    for (const app of replicas.apps) await waitForProblem(app, 'wrong_password');
    await assertServesAlone(replicas);
    await writeFile(join(replicas.directory, 'password'), user.password);
    await waitUntilShared(replicas);
  });

  await t.test('a user without permission for the keys', async () => {
    await store.ask('ACL', 'SETUSER', 'cambist', 'resetkeys', '~other:*');
    await problemWhileCalling(replicas, 'no_permission');
    await assertServesAlone(replicas);
    await store.ask('ACL', 'SETUSER', 'cambist', '~cambist:*');
    await waitUntilShared(replicas);
  });

  replicas.leaks.assertNoLeak({ logs: replicas.logs() });
});

test('a certificate of another authority is refused, and no password is sent', async (t) => {
  const user = { password: 'the-right-password', rules: '~cambist:* +@all' };
  const store = await startStore(t, { user, tls: createCertificateAuthority() });
  const replicas = await startReplicas(t, {
    shared: (directory) => asUser(store.port, directory, true),
    files: { password: user.password, 'ca.pem': createCertificateAuthority().cert },
  });
  for (const app of replicas.apps) await waitForProblem(app, 'tls');
  await assertServesAlone(replicas);
  assert.equal((await storeStatus(firstOf(replicas))).available, false);
});

test('doctor finds that a store works, and what is wrong with one that does not', async (t) => {
  const user = { password: 'a-password-of-the-test', rules: '~cambist:* &cambist:* +@all' };
  const store = await startStore(t, { user });
  process.env.STORE_TEST_PASSWORD = user.password;
  process.env.STORE_TEST_KEY = 'the key that all replicas of this test share';
  t.after(() => {
    delete process.env.STORE_TEST_PASSWORD;
    delete process.env.STORE_TEST_KEY;
  });
  const shared = {
    url: `redis://127.0.0.1:${store.port}`,
    username: 'cambist',
    password: { env: 'STORE_TEST_PASSWORD' },
    key: { env: 'STORE_TEST_KEY' },
    // A busy machine takes its time.
    timeout: '5s',
  };
  const config = { cache: { shared }, routes: [route('open', { audience: undefined, credential: 'none' })] };
  const works = await runDoctor(t, config);
  assert.deepEqual(works.problems, []);
  assert.equal(await store.ask('DBSIZE'), '0');
  await store.ask('ACL', 'SETUSER', 'cambist', '-publish');
  const mute = await runDoctor(t, config);
  assert.equal(mute.finding('shared_cache_unavailable').why, 'no_permission: NOPERM');
  process.env.STORE_TEST_PASSWORD = 'wrong';
  const locked = await runDoctor(t, config);
  assert.equal(locked.finding('shared_cache_unavailable').why, 'wrong_password: WRONGPASS');
});
