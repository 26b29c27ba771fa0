import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { WebSocket } from 'undici';
import { eventually, soon } from '../../harness/eventually.ts';
import { open } from '../../harness/http-call.ts';
import { sumSamples } from '../../harness/metric-samples.ts';
import { runDoctor } from '../../integration/doctor-run.ts';
import { startCluster } from './cluster.ts';
import { documentedRules } from './documented-rules.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import { RECONNECT_MS, revocationsOf, startRevoking, waitUntilReady } from './revoking.ts';
import { startSentinel } from './sentinel.ts';
import { startStore } from './store-process.ts';

/** Replicas read everything again once a minute, whatever was lost. */
const FAILOVER_MS = 90_000;

const PASSWORD_VARIABLE = 'REVOCATION_TEST_PASSWORD';

/** Resolves when a stream is closed, with or without an error. */
function endOf(stream: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    stream.on('error', () => {}).once('close', resolve);
    stream.resume();
  });
}

for (const kind of STORE_KINDS) {
  test(`${kind}: a signal to one replica drops, refuses and cuts at the other, as an ACL user`, async (t) => {
    const user = { username: 'cambist', password: 'a-password-of-the-test', rules: documentedRules() };
    const store = await startStore({ programs: findStore(kind), user });
    t.after(store.close);
    process.env[PASSWORD_VARIABLE] = user.password;
    t.after(() => {
      delete process.env[PASSWORD_VARIABLE];
    });
    const at = {
      url: `redis://127.0.0.1:${store.port}`,
      username: user.username,
      password: { env: PASSWORD_VARIABLE },
    };
    const { apps, caller, call: callReplica, logout, push } = await startRevoking(t, at, 2);
    const other = apps[1];
    assert.ok(other);
    const alice = await caller('alice', 'session-1');
    // Longer names than three letters, which could also appear in random text.
    const [bob, carol] = [await caller('robert', 'session-2'), await caller('carol', 'session-3')];
    for (const token of [alice, bob, carol]) assert.equal(await callReplica(1, token), 200);
    const headers = { authorization: `Bearer ${alice}` };
    const stream = await open(`${other.url}/github/stream`, { headers });
    await once(stream, 'data');
    const untouched = await open(`${other.url}/github/stream`, { headers: { authorization: `Bearer ${carol}` } });
    await once(untouched, 'data');
    untouched.on('error', () => {});
    const socket = new WebSocket(`${other.url.replace('http', 'ws')}/socket`, { headers });
    await once(socket, 'open');
    const ends = [endOf(stream), once(socket, 'close')];

    assert.equal(await logout(0, 'alice', 'session-1'), 200);
    await soon('the stream and the WebSocket are closed', Promise.all(ends));
    assert.equal(await callReplica(1, alice), 401);
    assert.equal(await push(0, 'robert'), 202);
    await eventually('bob is refused', async () => (await callReplica(1, bob)) === 401);
    assert.equal(await callReplica(1, carol), 200);
    assert.equal(untouched.closed, false);
    untouched.destroy();
    await eventually('both tokens are dropped', async () => {
      const dropped = sumSamples(await other.metrics(), 'cambist_cache_evictions_total', { reason: 'revoked' });
      return dropped >= 2;
    });
    assert.equal(sumSamples(await other.metrics(), 'cambist_requests_aborted_total', { aborted_by: 'revoked' }), 2);
    assert.deepEqual(await revocationsOf(other), { in_force: 3, unshared: 0, in_sync: true, full: false });

    const dump = await store.cli('--rdb', '-');
    assert.ok(dump.includes('cambist:{records}'));
    for (const name of ['alice', 'robert', 'session-1']) assert.ok(!dump.includes(name), name);
  });
}

test('a replica that starts later refuses what was revoked before', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const { caller, call: callReplica, logout, push, add } = await startRevoking(t, store.port, 1);
  const [alice, bob, carol] = [await caller('alice', 's1'), await caller('bob', 's2'), await caller('carol', 's3')];
  assert.deepEqual([await logout(0, 'alice', 's1'), await push(0, 'bob')], [200, 202]);
  await waitUntilReady(await add());
  const statuses = [await callReplica(1, alice), await callReplica(1, bob), await callReplica(1, carol)];
  assert.deepEqual(statuses, [401, 401, 200]);
});

test('a revocation waits while the store is away, and a new replica waits for it', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const { apps, caller, call: callReplica, logout, add } = await startRevoking(t, store.port, 2);
  const [alice, bob] = [await caller('alice', 's1'), await caller('bob', 's2')];
  assert.equal(await logout(0, 'alice', 's1'), 200);
  await eventually('alice is refused', async () => (await callReplica(1, alice)) === 401);

  await store.kill();
  await eventually('it is seen', async () => (await revocationsOf(apps[0])).in_sync === false);
  assert.equal(await logout(0, 'bob', 's2'), 200);
  assert.deepEqual([await callReplica(0, bob), await callReplica(1, bob)], [401, 200]);
  assert.deepEqual(await revocationsOf(apps[0]), { in_force: 4, unshared: 2, in_sync: false, full: false });
  assert.equal(sumSamples((await apps[0]?.metrics()) ?? '', 'cambist_revocations_unshared', {}), 2);
  const late = await add();
  assert.equal(await callReplica(2, await caller('carol', 's3')), 503);
  await eventually('its readiness check says why', async () => {
    const { checks } = (await (await fetch(`${late.admin}/readyz`)).json()) as { checks: Record<string, string> };
    return checks['cache.shared'] === 'ERR_REVOCATIONS_UNKNOWN';
  });

  // Without its data: replicas write everything again.
  await store.restartEmpty();
  await eventually('bob is refused', async () => (await callReplica(1, bob)) === 401, RECONNECT_MS);
  await waitUntilReady(late);
  await eventually('the late one knows both', async () => (await revocationsOf(late)).in_force === 4, RECONNECT_MS);
  assert.deepEqual([await callReplica(2, alice), await callReplica(2, bob)], [401, 401]);
  // And the mark.
  const size = () => store.ask('ZCARD', 'cambist:{records}');
  await eventually('all are kept', async () => (await size()) === '5', RECONNECT_MS);
  for (const app of apps) {
    await eventually('it is in sync', async () => (await revocationsOf(app)).in_sync === true, RECONNECT_MS);
    assert.deepEqual(await revocationsOf(app), { in_force: 4, unshared: 0, in_sync: true, full: false });
  }
});

test('a logout is accepted while the store hangs, and shared when it responds again', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const { apps, caller, call: callReplica, logout } = await startRevoking(t, store.port, 2);
  const alice = await caller('alice', 's1');
  assert.equal(await callReplica(1, alice), 200);
  store.pause();
  assert.equal(await logout(0, 'alice', 's1'), 200);
  assert.deepEqual([await callReplica(0, alice), await callReplica(1, alice)], [401, 200]);
  assert.equal((await revocationsOf(apps[0])).unshared, 2);
  store.resume();
  await eventually('alice is refused', async () => (await callReplica(1, alice)) === 401, RECONNECT_MS);
  await eventually('nothing waits', async () => (await revocationsOf(apps[0])).unshared === 0, RECONNECT_MS);
});

test('a replica that stops while the store is away waits for it, and writes a logout before it ends', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const { apps, caller, call: callReplica, logout, push } = await startRevoking(t, store.port, 2);
  const alice = await caller('alice', 's1');
  await store.kill();
  await eventually('it is seen', async () => (await revocationsOf(apps[0])).in_sync === false);
  assert.equal(await logout(0, 'alice', 's1'), 200);
  assert.equal(await push(0, 'bob'), 503);
  const stopping = apps[0]?.stop();
  await eventually('it waits', () => apps[0]?.logText().includes('waiting for the shared cache') === true);
  await store.restartEmpty();
  await stopping;
  await eventually('alice is refused', async () => (await callReplica(1, alice)) === 401, RECONNECT_MS);
});

test('replicas share revocations through a Cluster', async (t) => {
  const store = await startCluster({ programs: findStore('valkey') });
  t.after(store.close);
  const cluster = store.servers.slice(0, 2).map(({ port }) => `127.0.0.1:${port}`);
  const { caller, call: callReplica, logout, add } = await startRevoking(t, { cluster }, 2);
  const alice = await caller('alice', 's1');
  assert.equal(await callReplica(1, alice), 200);
  assert.equal(await logout(0, 'alice', 's1'), 200);
  await eventually('alice is refused', async () => (await callReplica(1, alice)) === 401);
  await waitUntilReady(await add());
  assert.equal(await callReplica(2, alice), 401);
});

test('replicas share revocations through Sentinel, before and after a failover', async (t) => {
  const store = await startSentinel({ programs: findStore('valkey') });
  t.after(store.close);
  const hosts = store.sentinels.map(({ port }) => `127.0.0.1:${port}`);
  const {
    apps,
    caller,
    call: callReplica,
    logout,
    add,
  } = await startRevoking(t, { sentinel: { name: store.name, hosts } }, 2);
  const [alice, bob] = [await caller('alice', 's1'), await caller('bob', 's2')];
  assert.equal(await logout(0, 'alice', 's1'), 200);
  await eventually('alice is refused', async () => (await callReplica(1, alice)) === 401);
  await store.failOver();
  assert.equal(await logout(0, 'bob', 's2'), 200);
  await eventually('bob is refused', async () => (await callReplica(1, bob)) === 401, FAILOVER_MS);
  for (const app of apps) {
    await eventually('nothing waits', async () => (await revocationsOf(app)).unshared === 0, FAILOVER_MS);
  }
  await waitUntilReady(await add());
  assert.deepEqual([await callReplica(2, alice), await callReplica(2, bob)], [401, 401]);
});

test('doctor counts the kept revocations, and finds those that do not open', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const { directory, authorizationServer, logout } = await startRevoking(t, store.port, 1);
  await logout(0, 'alice', 's1');
  const config = (file: string) => ({
    cache: { shared: { url: `redis://127.0.0.1:${store.port}`, timeout: '5s', key: { file } } },
    signals: {
      listen: '127.0.0.1:0',
      transmitters: { idp: { issuer: authorizationServer.issuer, audience: 'cambist', backchannel_logout: true } },
    },
    routes: [{ name: 'open', match: { path: '/' }, upstream: 'http://127.0.0.1:9', credential: 'none' }],
  });
  const works = await runDoctor(t, config(join(directory, 'key')));
  assert.match(works.finding('revocations_shared').what, /keep 2 revocations/);
  await writeFile(join(directory, 'other'), 'another key, which no replica of this test has');
  const other = await runDoctor(t, config(join(directory, 'other')));
  assert.match(other.finding('revocations_unreadable').what, /3 records of revocations/);
});
