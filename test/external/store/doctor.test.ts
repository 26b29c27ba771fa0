import assert from 'node:assert/strict';
import { test } from 'node:test';
import { route, runDoctor } from '../../integration/doctor-run.ts';
import { startStore } from './store-process.ts';

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
