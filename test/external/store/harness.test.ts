import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import { type StoreOptions, type StoreProcess, startStore } from './store-process.ts';
import { startTcpProxy } from './tcp-proxy.ts';

async function started(t: TestContext, options: StoreOptions): Promise<StoreProcess> {
  const store = await startStore(options);
  t.after(store.close);
  return store;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** `T` is a stopped process. */
function stateOf(pid: number): string | undefined {
  return /^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
}

for (const kind of STORE_KINDS) {
  describe(kind, () => {
    const programs = findStore(kind);

    test('serves over TLS to an ACL user alone', async (t) => {
      const user = { username: 'cambist', password: 'a-password-of-the-test', rules: '~cambist:* +@all' };
      const store = await started(t, { programs, tls: createCertificateAuthority(), user });
      assert.equal(await store.ask('SET', 'cambist:a', 'b'), 'OK');
      await assert.rejects(store.cli('-e', '--user', 'cambist', '--pass', 'wrong', 'PING'), /WRONGPASS|AUTH/i);
      const asUser = ['-e', '--user', user.username, '--pass', user.password];
      assert.equal(await store.cli(...asUser, 'GET', 'cambist:a'), 'b');
      await assert.rejects(store.cli(...asUser, 'GET', 'another:a'), /NOPERM/);
    });

    test('has lost its data when it was killed and started again, at the same port', async (t) => {
      const store = await started(t, { programs });
      const { pid, port } = store;
      await store.ask('SET', 'a', 'b');
      await store.restartEmpty();
      assert.equal(isAlive(pid), false);
      assert.deepEqual([store.port, await store.ask('DBSIZE')], [port, '0']);
      await store.close();
      assert.equal(isAlive(store.pid), false);
    });

    test('responds to nothing while it is stopped', async (t) => {
      const store = await started(t, { programs });
      store.pause();
      const socket = connect(store.port, '127.0.0.1');
      t.after(() => socket.destroy());
      await once(socket, 'connect');
      socket.write('PING\r\n');
      const heard = once(socket, 'data');
      await eventually('the process is stopped', () => stateOf(store.pid) === 'T');
      assert.equal(socket.bytesRead, 0);
      store.resume();
      assert.equal(String((await soon('the response', heard))[0]), '+PONG\r\n');
    });
  });
}

test('delays, loses and cuts what passes the proxy', async (t) => {
  const store = await started(t, { programs: findStore('valkey') });
  const proxy = await startTcpProxy(store.port);
  t.after(proxy.close);
  const open = async () => {
    const socket = connect(proxy.port, '127.0.0.1');
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    return socket;
  };
  const first = await open();
  proxy.delayMs = 20;
  first.write('SET a one\r\n');
  assert.equal(String((await soon('the response', once(first, 'data')))[0]), '+OK\r\n');
  proxy.isSilent = true;
  first.write('SET a two\r\n');
  await eventually('the proxy has the second command', () => proxy.sent === 2);
  proxy.cut();
  await soon('the end', once(first, 'close'));
  assert.equal(await store.ask('GET', 'a'), 'one');
  assert.ok(proxy.recorded().includes('SET a two'));
  assert.equal(proxy.connections, 1);
});
