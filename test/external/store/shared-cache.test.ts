import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RunningApp, startTestApp } from '../../harness/app.ts';
import { eventually } from '../../harness/eventually.ts';
import { call as callOnce } from '../../harness/http-call.ts';
import { lastHandle, startInboundGateway } from '../../harness/inbound.ts';
import { route, runDoctor } from '../../integration/doctor-run.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import { startReplicas } from './replicas.ts';
import { startStore } from './store-process.ts';

/** Long enough for a busy machine, where only the number of exchanges counts. */
const PATIENT = { timeout: '5s' };

async function statusOf(app: RunningApp | undefined): Promise<{ available?: boolean; problem?: string }> {
  const response = await fetch(`${app?.admin}/status.json`);
  return ((await response.json()) as { shared_cache: object }).shared_cache;
}

for (const kind of STORE_KINDS) {
  test(`${kind}: 64 callers over 4 cold replicas cost one exchange, and a new replica none`, async (t) => {
    const store = await startStore({ programs: findStore(kind) });
    t.after(store.close);
    const replicas = await startReplicas(t, {
      count: 4,
      shared: { url: `redis://127.0.0.1:${store.port}`, ...PATIENT },
    });
    const { authorizationServer, call } = replicas;
    const token = await authorizationServer.mint();
    const statuses = await Promise.all(Array.from({ length: 64 }, (_, index) => call(index % 4, token)));
    assert.deepEqual(new Set(statuses), new Set([200]));
    assert.equal(authorizationServer.requests.length, 1);
    await replicas.add();
    assert.equal(await call(4, token), 200);
    assert.equal(authorizationServer.requests.length, 1);
  });

  test(`${kind}: the store holds nothing that a reader could use`, async (t) => {
    const store = await startStore({ programs: findStore(kind) });
    t.after(store.close);
    const shared = { url: `redis://127.0.0.1:${store.port}`, ...PATIENT };
    const { authorizationServer, call } = await startReplicas(t, { count: 1, shared });
    const token = await authorizationServer.mint({ subject: 'alice' });
    await call(0, token, { 'mcp-session-id': 'the-session' });
    const values = await eventuallyValues(store.ask);
    const dump = values.join('\n');
    const issued = authorizationServer.requests[0]?.issued ?? '';
    for (const secret of [token, issued, ...token.split('.'), ...issued.split('.'), 'alice', 'github', 'the-session']) {
      assert.ok(!dump.includes(secret), secret);
    }
  });
}

/** All keys and values, once there is a token. */
async function eventuallyValues(ask: (...command: string[]) => Promise<string>): Promise<string[]> {
  let keys: string[] = [];
  await eventually('a token is written', async () => {
    keys = (await ask('KEYS', '*')).split('\n');
    return keys.some((key) => key.includes(':t:'));
  });
  return Promise.all(keys.map(async (key) => `${key} ${await ask('GET', key)} ${await ask('PTTL', key)}`));
}

test('a store that stops, dies and comes back costs exchanges, and no request', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  const shared = { url: `redis://127.0.0.1:${store.port}`, timeout: '200ms' };
  const { apps, authorizationServer, call } = await startReplicas(t, { count: 2, shared });
  const callNew = async (): Promise<number> => call(0, await authorizationServer.mint());

  store.pause();
  for (let i = 0; i < 5; i += 1) assert.equal(await callNew(), 200);
  await eventually('it is slow', async () => (await statusOf(apps[0])).problem !== undefined);
  assert.equal(authorizationServer.requests.length, 5);
  store.resume();
  await eventually('it is used again', async () => (await statusOf(apps[0])).available === true, 20_000);

  await store.kill();
  assert.equal(await callNew(), 200);
  await eventually('it is unreachable', async () => (await statusOf(apps[0])).problem === 'unreachable');
  await store.restartEmpty();
  await eventually('it is used again', async () => (await statusOf(apps[0])).available === true, 20_000);
  await eventually('by both', async () => (await statusOf(apps[1])).available === true, 20_000);
  const token = await authorizationServer.mint();
  const before = authorizationServer.requests.length;
  assert.equal(await call(0, token), 200);
  await eventually('it is shared again', async () => (await store.ask('KEYS', '*:t:*')) !== '');
  assert.equal(await call(1, token), 200);
  assert.equal(authorizationServer.requests.length, before + 1);
  const said = apps[0]?.logs.filter(({ msg }) => String(msg).startsWith('shared cache'));
  assert.ok((said?.length ?? 0) >= 4, JSON.stringify(said));
});

test('says what is wrong with the store', async (t) => {
  const user = { username: 'cambist', password: 'a-password-of-the-test', rules: '~cambist:* &cambist:* +@all' };
  const store = await startStore({ programs: findStore('valkey'), user });
  t.after(store.close);
  process.env.STORE_TEST_PASSWORD = 'wrong';
  t.after(() => {
    delete process.env.STORE_TEST_PASSWORD;
  });
  const shared = {
    url: `redis://127.0.0.1:${store.port}`,
    username: 'cambist',
    password: { env: 'STORE_TEST_PASSWORD' },
    ...PATIENT,
  };
  const { apps, authorizationServer, call } = await startReplicas(t, { count: 1, shared });
  const expect = async (problem: string | undefined): Promise<void> => {
    assert.equal(await call(0, await authorizationServer.mint()), 200);
    await eventually(
      `the problem is ${problem}`,
      async () =>
        (await call(0, await authorizationServer.mint())) === 200 && (await statusOf(apps[0])).problem === problem,
      20_000,
    );
  };
  await expect('wrong_password');
  process.env.STORE_TEST_PASSWORD = user.password;
  await expect(undefined);
  await store.ask('CONFIG', 'SET', 'maxmemory', '1');
  await expect('full');
  await store.ask('CONFIG', 'SET', 'maxmemory', '0');
  await expect(undefined);
  await store.ask('REPLICAOF', '127.0.0.1', '1');
  await expect('read_only');
  await store.ask('REPLICAOF', 'NO', 'ONE');
  await expect(undefined);
  await store.ask('ACL', 'SETUSER', 'cambist', '-evalsha', '-eval');
  await expect('no_permission');
  assert.ok(!apps[0]?.logText().includes(user.password));
});

test('works for a user with exactly the documented permissions', async (t) => {
  const rules =
    'resetkeys ~cambist:* resetchannels &cambist:* -@all +ping +get +set +del +getrange +strlen +eval +evalsha +publish ' +
    '+subscribe +unsubscribe +zadd +zrem +zcard +zscore +zrangebyscore +zrevrangebyscore +hset +hdel +hmget +pttl +pexpire';
  const user = { username: 'cambist', password: 'a-password-of-the-test', rules };
  const store = await startStore({ programs: findStore('valkey'), user });
  t.after(store.close);
  process.env.STORE_TEST_PASSWORD = user.password;
  t.after(() => {
    delete process.env.STORE_TEST_PASSWORD;
  });
  const shared = {
    url: `redis://127.0.0.1:${store.port}`,
    username: 'cambist',
    password: { env: 'STORE_TEST_PASSWORD' },
    ...PATIENT,
  };
  const { authorizationServer, call } = await startReplicas(t, { count: 2, shared });
  const token = await authorizationServer.mint();
  assert.deepEqual([await call(0, token), await call(1, token)], [200, 200]);
  assert.equal(authorizationServer.requests.length, 1);
});

test('a handle works at every replica, also at one that started later', async (t) => {
  const store = await startStore({ programs: findStore('valkey') });
  t.after(store.close);
  process.env.STORE_TEST_KEY = 'the key that all replicas of this test share';
  t.after(() => {
    delete process.env.STORE_TEST_KEY;
  });
  const shared = { url: `redis://127.0.0.1:${store.port}`, key: { env: 'STORE_TEST_KEY' }, ...PATIENT };
  const gateway = await startInboundGateway(t, { top: { cache: { shared } }, inbound: { detached: 'allow' } });
  const { authorizationServer, backend, config } = gateway;
  const authorization = `Bearer ${await gateway.mint()}`;
  assert.equal((await callOnce(`${gateway.url}/chat`, { headers: { authorization }, body: 'hello' })).status, 200);
  const handle = lastHandle(gateway);
  const other = await startTestApp(t, config);
  const headers = { authorization: `Bearer ${handle}` };
  assert.equal((await callOnce(`${other.url}/github`, { headers, body: '{}' })).status, 200);
  assert.equal(authorizationServer.requests.length, 1);
  assert.ok(!JSON.stringify(backend.requests.at(-1)?.headers).includes(handle));
  const unknown = { authorization: `Bearer cbh_${'a'.repeat(43)}` };
  assert.equal((await callOnce(`${other.url}/github`, { headers: unknown, body: '{}' })).status, 401);
  const text = await store.ask('KEYS', '*');
  assert.ok(!text.includes(handle.slice(4)));
});

test('doctor finds that a store works, and what is wrong with one that does not', async (t) => {
  const user = { username: 'cambist', password: 'a-password-of-the-test', rules: '~cambist:* &cambist:* +@all' };
  const store = await startStore({ programs: findStore('valkey'), user });
  t.after(store.close);
  process.env.STORE_TEST_PASSWORD = user.password;
  process.env.STORE_TEST_KEY = 'the key that all replicas of this test share';
  t.after(() => {
    delete process.env.STORE_TEST_PASSWORD;
    delete process.env.STORE_TEST_KEY;
  });
  const shared = {
    url: `redis://127.0.0.1:${store.port}`,
    username: user.username,
    password: { env: 'STORE_TEST_PASSWORD' },
    key: { env: 'STORE_TEST_KEY' },
    ...PATIENT,
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
