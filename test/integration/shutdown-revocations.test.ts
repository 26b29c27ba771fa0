import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { freePort } from '../harness/free-port.ts';
import { call } from '../harness/http-call.ts';

const VARIABLE = 'SHUTDOWN_REVOCATIONS_KEY';

/** cambist with a shared cache that is away. */
async function start(t: TestContext, grace: string) {
  process.env[VARIABLE] = 'the key that all replicas of this test share';
  t.after(() => {
    delete process.env[VARIABLE];
  });
  const idp = await startFakeAuthorizationServer();
  t.after(idp.close);
  let respond = (): void => {};
  const backend = await startFakeUpstream((_request, response) => {
    respond = () => void response.end();
  });
  t.after(backend.close);
  const app = await startTestApp(t, {
    limits: { shutdown_grace: grace },
    cache: { shared: { url: `redis://127.0.0.1:${await freePort()}`, key: { env: VARIABLE } } },
    signals: {
      listen: '127.0.0.1:0',
      transmitters: { idp: { issuer: idp.issuer, audience: 'cambist', backchannel_logout: true } },
    },
    routes: [{ name: 'a', match: { path: '/' }, upstream: backend.url, credential: 'none' }],
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
  return { app, backend, respond: () => respond(), logout, revocationLines };
}

test('tells the operator which revocations are lost when the shared cache stays away for the shutdown grace', async (t) => {
  const { app, logout, revocationLines } = await start(t, '10ms');
  assert.equal(await logout(), 200);
  await app.stop();
  // One for the session, and one for tokens of its user that name no session.
  assert.deepEqual(revocationLines(), [
    'warn: revocations that other replicas do not know: 2; waiting for the shared cache',
    'error: stopping; revocations that other replicas do not know: 2',
  ]);
});

test('waits for the shared cache also with a revocation that arrives while requests finish', async (t) => {
  const { app, backend, respond, logout, revocationLines } = await start(t, '1h');
  const request = call(app.url);
  await eventually('the backend has the request', () => backend.requests.length === 1);
  const hurry = new AbortController();
  const stopping = app.stop(hurry.signal);
  assert.equal(await logout(), 200);
  respond();
  await request;
  const waits = 'warn: revocations that other replicas do not know: 2; waiting for the shared cache';
  await eventually('the wait', () => revocationLines().includes(waits));
  hurry.abort();
  await stopping;
  assert.deepEqual(revocationLines(), [waits, 'error: stopping; revocations that other replicas do not know: 2']);
});

test('stops without a word about revocations when other replicas miss none', async (t) => {
  const { app, revocationLines } = await start(t, '10ms');
  await app.stop();
  assert.deepEqual(revocationLines(), []);
});
