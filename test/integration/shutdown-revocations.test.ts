import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { freePort } from '../harness/free-port.ts';
import { call } from '../harness/http-call.ts';

const VARIABLE = 'SHUTDOWN_REVOCATIONS_KEY';

/** cambist with a shared cache that is away. */
async function start(t: TestContext) {
  process.env[VARIABLE] = 'the key that all replicas of this test share';
  t.after(() => {
    delete process.env[VARIABLE];
  });
  const idp = await startFakeAuthorizationServer();
  t.after(idp.close);
  const app = await startTestApp(t, {
    limits: { shutdown_grace: '10ms' },
    cache: { shared: { url: `redis://127.0.0.1:${await freePort()}`, key: { env: VARIABLE } } },
    signals: {
      listen: '127.0.0.1:0',
      transmitters: { idp: { issuer: idp.issuer, audience: 'cambist', backchannel_logout: true } },
    },
    routes: [{ name: 'a', match: { path: '/' }, upstream: 'http://127.0.0.1:9', credential: 'none' }],
  });
  async function logout(): Promise<number> {
    const claims = { jti: '1', sid: 's1', events: { 'http://schemas.openid.net/event/backchannel-logout': {} } };
    const token = await idp.mint({ subject: 'alice', audience: 'cambist', type: 'logout+jwt', claims });
    const body = new URLSearchParams({ logout_token: token }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return (await call(`${app.signals}/logout/idp`, { method: 'POST', headers, body })).status;
  }
  const revocationLines = () =>
    app.logs.filter(({ msg }) => /revocations/.test(String(msg))).map(({ level, msg }) => `${level}: ${msg}`);
  return { app, logout, revocationLines };
}

test('tells the operator which revocations are lost when the shared cache stays away for the shutdown grace', async (t) => {
  const { app, logout, revocationLines } = await start(t);
  assert.equal(await logout(), 200);
  await app.stop();
  // One for the session, and one for tokens of its user that name no session.
  assert.deepEqual(revocationLines(), [
    'warn: revocations that other replicas do not know: 2; waiting for the shared cache',
    'error: stopping; other replicas were not told of revocations: 2',
  ]);
});

test('stops without a word about revocations when other replicas miss none', async (t) => {
  const { app, revocationLines } = await start(t);
  await app.stop();
  assert.deepEqual(revocationLines(), []);
});
