import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { documentedRules } from './documented-rules.ts';
import { type Fleet, SUBJECT, startFleet, waitForStore } from './fleet.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import { startStore } from './store-process.ts';
import { startTcpProxy } from './tcp-proxy.ts';

/** An MCP session, which the store must not see either. */
const SESSION = 'the-session-of-a-caller';

for (const kind of STORE_KINDS) {
  test(`${kind}: 64 callers' requests at 4 cold replicas make one exchange, over TLS as an ACL user`, async (t) => {
    const authority = createCertificateAuthority();
    const user = { username: 'cambist', password: 'the-password-of-an-acl-user', rules: documentedRules() };
    const store = await startStore({ programs: findStore(kind), tls: authority, user });
    t.after(store.close);
    const fleet = await startFleet(t, {
      replicas: 4,
      shared: (directory) => ({
        url: `rediss://127.0.0.1:${store.port}`,
        username: user.username,
        password: { file: join(directory, 'password') },
        tls: { ca: { file: join(directory, 'ca.pem') } },
        // The machine is busy with four cold processes.
        timeout: '5s',
      }),
      files: { password: user.password, 'ca.pem': authority.cert },
    });
    for (const replica of fleet.replicas) await waitForStore(replica);
    fleet.authorizationServer.behaviour = { kind: 'issue', delayMs: 100 };
    const token = await fleet.newCaller();
    const responses = await Promise.all(Array.from({ length: 64 }, (_, index) => fleet.call(index % 4, token)));
    assert.deepEqual([...new Set(responses.map(({ status }) => status))], [200]);
    assert.equal(fleet.exchanges(), 1);
    const sent = new Set(fleet.backend.requests.map(({ authorization }) => authorization[0]));
    assert.deepEqual([...sent], [`Bearer ${fleet.authorizationServer.requests[0]?.issued}`]);
    // Another caller has another token.
    await fleet.assertServed(1, await fleet.newCaller());
    assert.equal(fleet.exchanges(), 2);
  });
}

test('the others exchange when the replica that holds the lock is killed', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const fleet = await startFleet(t, { replicas: 3, shared: { url: `redis://127.0.0.1:${store.port}`, timeout: '5s' } });
  for (const replica of fleet.replicas) await waitForStore(replica);
  const token = await fleet.newCaller();
  fleet.authorizationServer.queue.push({ kind: 'hang' });
  const lost = fleet.call(0, token).catch(() => undefined);
  await eventually('the first replica exchanges', () => fleet.exchanges() === 1);
  const others = [1, 2].map((replica) => fleet.call(replica, token));
  fleet.replicas[0]?.signal('SIGKILL');
  for (const { status } of await Promise.all(others)) assert.equal(status, 200);
  // Each of the others may have given up on its own.
  assert.ok(fleet.exchanges() <= 3);
  await lost;
});

test('a replica that starts later finds the tokens of the others, and a restarted one its own', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const fleet = await startFleet(t, { replicas: 1, shared: { url: `redis://127.0.0.1:${store.port}`, timeout: '5s' } });
  const [first] = fleet.replicas;
  assert.ok(first);
  await waitForStore(first);
  const tokens = await Promise.all(Array.from({ length: 10 }, () => fleet.newCaller()));
  for (const token of tokens) await fleet.assertServed(0, token);
  assert.equal(fleet.exchanges(), 10);
  await first.close();
  await waitForStore(await fleet.add());
  for (const token of tokens) await fleet.assertServed(1, token);
  assert.equal(fleet.exchanges(), 10);
});

test('what replicas exchange with their store', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const wire = await startTcpProxy(store.port);
  t.after(wire.close);
  const fleet = await startFleet(t, { shared: { url: `redis://127.0.0.1:${wire.port}`, timeout: '5s' } });
  for (const replica of fleet.replicas) await waitForStore(replica);

  await t.test('a token in memory costs no operation, one in the store costs one, and an exchange a second one', () =>
    assertOperations(fleet),
  );

  await t.test('none of it is a token, a secret or a subject in clear', async () => {
    for (let index = 0; index < 5; index += 1) {
      const token = await fleet.newCaller();
      for (const replica of [index % 2, (index + 1) % 2]) {
        const { status, text } = await fleet.call(replica, token, { headers: { 'mcp-session-id': SESSION } });
        assert.equal(status, 200, text);
      }
    }
    fleet.authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
    const refused = await fleet.newCaller();
    assert.equal((await fleet.call(0, refused)).status, 401);
    for (const { issued } of fleet.authorizationServer.requests) if (issued !== undefined) fleet.leaks.remember(issued);
    const dump = await store.cli('--rdb', '-');
    const keys = await store.ask('KEYS', '*');
    assert.ok(keys.split('\n').length >= 5, keys);
    for (const key of keys.split('\n')) assert.match(key, /^cambist:/);
    const all = wire.recorded().toString('latin1');
    assert.ok(all.includes('cambist:') && dump.includes('cambist:'));
    fleet.leaks.assertNoLeak({ wire: all, keys, dump });
    for (const word of [SUBJECT, SESSION, fleet.backend.url, 'github', 'invalid_grant'])
      assert.ok(!all.includes(word), word);
  });
});

async function assertOperations(fleet: Fleet): Promise<void> {
  const used = (replica: number) =>
    fleet.replicas[replica]?.metric('cambist_shared_cache_operations_total') ?? Promise.resolve(0);
  const [first, second] = [await used(0), await used(1)];
  const token = await fleet.newCaller();
  await fleet.assertServed(0, token);
  // The token is written after the response.
  await eventually('the first replica has written the token', async () => (await used(0)) === first + 2);
  await fleet.assertServed(1, token);
  assert.equal(await used(1), second + 1);
  for (let calls = 0; calls < 20; calls += 1) await fleet.assertServed(calls % 2, token);
  assert.deepEqual([await used(0), await used(1)], [first + 2, second + 1]);
  assert.equal(fleet.exchanges(), 1);
}
