import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startCambist } from '../../harness/cambist-process.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { call } from '../../harness/http-call.ts';
import { type Labels, sumSamples } from '../../harness/metric-samples.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import { asUser, documentedRules, type Replicas, SUBJECT, startReplicas, waitForStore } from './replicas.ts';
import { startStore } from './store-process.ts';
import { startTcpProxy } from './tcp-proxy.ts';

/** An MCP session, which the store must not see either. */
const SESSION = 'the-session-of-a-caller';

for (const kind of STORE_KINDS) {
  test(`${kind}: 64 callers' requests at 4 cold replicas make one exchange, over TLS as an ACL user`, async (t) => {
    const authority = createCertificateAuthority();
    const user = { password: 'the-password-of-an-acl-user', rules: documentedRules() };
    const store = await startStore(t, { programs: findStore(kind), tls: authority, user });
    const replicas = await startReplicas(t, {
      count: 4,
      shared: (directory) => asUser(store.port, directory, true),
      files: { password: user.password, 'ca.pem': authority.cert },
    });
    await waitForStore(replicas);
    replicas.authorizationServer.behaviour = { kind: 'issue', delayMs: 100 };
    const token = await replicas.newCaller();
    const responses = await Promise.all(Array.from({ length: 64 }, (_, index) => replicas.call(index % 4, token)));
    assert.deepEqual([...new Set(responses.map(({ status }) => status))], [200]);
    assert.equal(replicas.exchanges(), 1);
    const sent = new Set(replicas.backend.requests.map(({ authorization }) => authorization[0]));
    assert.deepEqual([...sent], [`Bearer ${replicas.authorizationServer.requests[0]?.issued}`]);
    // Another caller has another token.
    await replicas.assertServed(1, await replicas.newCaller());
    assert.equal(replicas.exchanges(), 2);
  });
}

test('the others exchange when the replica that holds the lock is killed', async (t) => {
  const store = await startStore(t);
  const replicas = await startReplicas(t, { shared: store.port });
  await waitForStore(replicas);
  const holder = await startCambist(t, { config: replicas.config });
  const isUp = async () => (await holder.metric('cambist_shared_cache_available')) === 1;
  await eventually('the built program has the store', isUp, 60_000);
  const token = await replicas.newCaller();
  replicas.authorizationServer.queue.push({ kind: 'hang' });
  const headers = { authorization: `Bearer ${token}` };
  const lost = call(`${holder.url}/github`, { method: 'POST', headers, body: '{}' }).catch(() => undefined);
  await eventually('the first replica exchanges', () => replicas.exchanges() === 1);
  const others = [0, 1].map((replica) => replicas.call(replica, token));
  holder.signal('SIGKILL');
  for (const { status } of await Promise.all(others)) assert.equal(status, 200);
  // Each of the others may have given up on its own.
  assert.ok(replicas.exchanges() <= 3);
  await lost;
});

test('what replicas exchange with their store', async (t) => {
  const store = await startStore(t);
  const wire = await startTcpProxy(t, store.port);
  const replicas = await startReplicas(t, { shared: wire.port });
  await waitForStore(replicas);

  await t.test('a token in memory costs no operation, one in the store costs one, and an exchange a second one', () =>
    assertOperations(replicas),
  );

  await t.test('none of it is a token, a secret or a subject in clear', async () => {
    for (let index = 0; index < 5; index += 1) {
      const token = await replicas.newCaller();
      for (const replica of [index % 2, (index + 1) % 2]) {
        const { status, text } = await replicas.call(replica, token, { headers: { 'mcp-session-id': SESSION } });
        assert.equal(status, 200, text);
      }
    }
    replicas.authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
    const refused = await replicas.newCaller();
    assert.equal((await replicas.call(0, refused)).status, 401);
    for (const { issued } of replicas.authorizationServer.requests)
      if (issued !== undefined) replicas.leaks.remember(issued);
    const dump = await store.cli('--rdb', '-');
    const keys = await store.ask('KEYS', '*');
    assert.ok(keys.split('\n').length >= 5, keys);
    for (const key of keys.split('\n')) assert.match(key, /^cambist:/);
    const all = wire.recorded().toString('latin1');
    assert.ok(all.includes('cambist:') && dump.includes('cambist:'));
    replicas.leaks.assertNoLeak({ wire: all, keys, dump });
    for (const word of [SUBJECT, SESSION, replicas.backend.url, 'github', 'invalid_grant'])
      assert.ok(!all.includes(word), word);
  });
});

async function assertOperations(replicas: Replicas): Promise<void> {
  /** Heartbeats are not counted, because they come at any time. */
  const used = async (replica: number): Promise<number> => {
    const text = (await replicas.apps[replica]?.metrics()) ?? '';
    const count = (labels?: Labels) => sumSamples(text, 'cambist_shared_cache_operations_total', labels);
    return count() - count({ operation: 'heartbeat' });
  };
  const [first, second] = [await used(0), await used(1)];
  const token = await replicas.newCaller();
  await replicas.assertServed(0, token);
  // The token is written after the response.
  await eventually('the first replica has written the token', async () => (await used(0)) === first + 2);
  await replicas.assertServed(1, token);
  assert.equal(await used(1), second + 1);
  for (let calls = 0; calls < 20; calls += 1) await replicas.assertServed(calls % 2, token);
  assert.deepEqual([await used(0), await used(1)], [first + 2, second + 1]);
  assert.equal(replicas.exchanges(), 1);
}
