import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { WebSocket } from 'undici';
import { eventually, soon } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { createFakeTransmitter } from '../../harness/fake-transmitter.ts';
import { open } from '../../harness/http-call.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import { asUser, documentedRules, metricOf } from './replicas.ts';
import {
  RECONNECT_MS,
  revocationsOf,
  startRevoking,
  waitUntilAway,
  waitUntilInSync,
  waitUntilReady,
  waitUntilRefused,
} from './revoking.ts';
import { startStore } from './store-process.ts';

/** Resolves when a stream is closed, with or without an error. */
function endOf(stream: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    stream.on('error', () => {}).once('close', resolve);
    stream.resume();
  });
}

for (const kind of STORE_KINDS) {
  test(`${kind}: a signal to one replica drops, refuses and cuts at the other, as an ACL user`, async (t) => {
    const user = { password: 'a-password-of-the-test', rules: documentedRules() };
    const store = await startStore(t, { programs: findStore(kind), user });
    const at = (directory: string) => asUser(store.port, directory);
    const files = { password: user.password };
    const { apps, caller, call, logout, push } = await startRevoking(t, at, undefined, files);
    const other = apps[1];
    assert.ok(other);
    const alice = await caller('alice', 'session-1');
    // Longer names than three letters, which could also appear in random text.
    const [bob, carol] = [await caller('robert', 'session-2'), await caller('carol', 'session-3')];
    for (const token of [alice, bob, carol]) assert.equal(await call(1, token), 200);
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
    assert.equal(await call(1, alice), 401);
    assert.equal(await push(0, 'robert'), 202);
    await waitUntilRefused(() => call(1, bob));
    assert.equal(await call(1, carol), 200);
    assert.equal(untouched.closed, false);
    untouched.destroy();
    const dropped = () => metricOf(other, 'cambist_cache_evictions_total', { reason: 'revoked' });
    await eventually('both tokens are dropped', async () => (await dropped()) >= 2);
    assert.equal(await metricOf(other, 'cambist_requests_aborted_total', { aborted_by: 'revoked' }), 2);
    assert.deepEqual(await revocationsOf(other), { in_force: 3, unshared: 0, in_sync: true, full: false });

    const dump = await store.cli('--rdb', '-');
    assert.ok(dump.includes('cambist:{records}'));
    for (const name of ['alice', 'robert', 'session-1']) assert.ok(!dump.includes(name), name);
  });
}

test('a revocation waits while the store is away, and a new replica waits for it', async (t) => {
  const store = await startStore(t);
  const { apps, caller, call, logout, add } = await startRevoking(t, store.port);
  const [alice, bob] = [await caller('alice', 's1'), await caller('bob', 's2')];
  assert.equal(await logout(0, 'alice', 's1'), 200);
  await waitUntilRefused(() => call(1, alice));

  await store.kill();
  await waitUntilAway(apps[0]);
  assert.equal(await logout(0, 'bob', 's2'), 200);
  assert.deepEqual([await call(0, bob), await call(1, bob)], [401, 200]);
  assert.deepEqual(await revocationsOf(apps[0]), { in_force: 4, unshared: 2, in_sync: false, full: false });
  assert.equal(await metricOf(apps[0], 'cambist_revocations_unshared'), 2);
  const late = await add();
  assert.equal(await call(2, await caller('carol', 's3')), 503);
  await eventually('its readiness check says why', async () => {
    const { checks } = (await (await fetch(`${late.admin}/readyz`)).json()) as { checks: Record<string, string> };
    return checks['cache.shared'] === 'ERR_REVOCATIONS_UNKNOWN';
  });

  // Without its data: replicas write everything again.
  await store.restartEmpty();
  await waitUntilRefused(() => call(1, bob));
  await waitUntilReady(late);
  await eventually('the late one knows both', async () => (await revocationsOf(late)).in_force === 4, RECONNECT_MS);
  assert.deepEqual([await call(2, alice), await call(2, bob)], [401, 401]);
  // And the mark.
  const size = () => store.ask('ZCARD', 'cambist:{records}');
  await eventually('all are kept', async () => (await size()) === '5', RECONNECT_MS);
  for (const app of apps) {
    const isComplete = async () =>
      isDeepStrictEqual(await revocationsOf(app), { in_force: 4, unshared: 0, in_sync: true, full: false });
    await eventually('it is in sync', isComplete, RECONNECT_MS);
  }
});

test('a logout is accepted while the store hangs, and shared when it responds again', async (t) => {
  const store = await startStore(t);
  const { apps, caller, call, logout } = await startRevoking(t, store.port);
  const alice = await caller('alice', 's1');
  assert.equal(await call(1, alice), 200);
  store.pause();
  assert.equal(await logout(0, 'alice', 's1'), 200);
  assert.deepEqual([await call(0, alice), await call(1, alice)], [401, 200]);
  assert.equal((await revocationsOf(apps[0])).unshared, 2);
  store.resume();
  await waitUntilRefused(() => call(1, alice));
  await waitUntilInSync(apps);
});

test('a replica that stops while the store is away waits for it, and writes a logout before it ends', async (t) => {
  const store = await startStore(t);
  const { apps, caller, call, logout, push } = await startRevoking(t, store.port);
  const alice = await caller('alice', 's1');
  await store.kill();
  await waitUntilAway(apps[0]);
  assert.equal(await logout(0, 'alice', 's1'), 200);
  assert.equal(await push(0, 'bob'), 503);
  const stopping = apps[0]?.stop();
  await eventually('it waits', () => apps[0]?.logText().includes('waiting for the shared cache') === true);
  await store.restartEmpty();
  await stopping;
  await waitUntilRefused(() => call(1, alice));
});

test('while the store is away, each replica gets a polled event from the transmitter', async (t) => {
  const transmitter = createFakeTransmitter();
  // As Keycloak does.
  transmitter.isHasty = true;
  const host = await startFakeAuthorizationServer(t, { respond: transmitter.respond });
  const store = await startStore(t);
  const file = join(temporaryFolder(t), 'authorization');
  await writeFile(file, 'Bearer of-the-test');
  const poll = { delivery: 'poll', authorization: { file }, poll_endpoint: `${host.issuer}/ssf/poll` };
  const { apps, caller, call, event } = await startRevoking(t, store.port, poll);
  const alice = await caller('alice', 's1');
  for (const index of apps.keys()) assert.equal(await call(index, alice), 200);
  await store.kill();
  for (const app of apps) await waitUntilAway(app);
  transmitter.offer('event-1', await event('alice'));
  for (const index of apps.keys()) await waitUntilRefused(() => call(index, alice));
  assert.equal(transmitter.pending.size, 1);
  await store.restartEmpty();
  await eventually('it is acknowledged', () => transmitter.pending.size === 0, RECONNECT_MS);
  await waitUntilInSync(apps);
});
