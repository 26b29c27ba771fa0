import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/clock/clock.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { openSharedCache } from '../../src/shared-cache/shared-cache.ts';
import { createSignals } from '../../src/signals/signals.ts';
import { toSubject } from '../../src/tokens/subject.ts';
import { createDispatchers } from '../../src/transport/dispatchers.ts';
import { configOf } from '../harness/app.ts';
import { eventually } from '../harness/eventually.ts';
import { type FakeAuthorizationServer, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { call } from '../harness/http-call.ts';
import { createMemoryStore, type MemoryStore } from '../harness/memory-store.ts';

const VARIABLE = 'SIGNALS_REPLICAS_KEY';
const CREDENTIAL_CHANGE = 'https://schemas.openid.net/secevent/caep/event-type/credential-change';
const LOGOUT = { 'http://schemas.openid.net/event/backchannel-logout': {} };

/** The part of a replica that receives signals, with a store in this process. */
async function startReplica(t: TestContext, server: MemoryStore, { issuer }: FakeAuthorizationServer) {
  const { cache, signals: config } = configOf({
    cache: { shared: { url: 'redis://127.0.0.1', timeout: '5s', key: { env: VARIABLE } } },
    signals: {
      listen: '127.0.0.1:0',
      transmitters: { idp: { issuer, audience: 'cambist', delivery: 'push', backchannel_logout: true } },
    },
    routes: [{ name: 'a', match: { path: '/' }, upstream: 'http://127.0.0.1:9', credential: 'none' }],
  });
  assert.ok(cache.shared && config);
  const logger = createLogger('info', { write: () => {} });
  const options = { clock: systemClock, logger, maxAgeMs: () => 300_000, connect: server.connect };
  const sharedCache = await openSharedCache(cache.shared, options);
  t.after(sharedCache.close);
  // Else the first replica waits for others that may know more.
  await sharedCache.records.mark(Date.now() + 3_600_000);
  const dispatchers = createDispatchers(() => {});
  t.after(() => dispatchers.destroy());
  const signals = createSignals(config, {
    clock: systemClock,
    logger,
    dispatchers,
    sharedCache,
    ownTokens: () => assert.fail(),
  });
  t.after(signals.close);
  const url = await signals.open(0o600);
  return { ...signals, url };
}

async function logout(idp: FakeAuthorizationServer, url: string | undefined, sid: string): Promise<number> {
  const claims = { jti: sid, events: LOGOUT, sid };
  const token = await idp.mint({ subject: 'alice', audience: 'cambist', type: 'logout+jwt', claims });
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const body = new URLSearchParams({ logout_token: token }).toString();
  return (await call(`${url}/logout/idp`, { method: 'POST', headers, body })).status;
}

async function push(idp: FakeAuthorizationServer, url: string | undefined, sub: string) {
  const subject = { format: 'iss_sub', iss: idp.issuer, sub };
  const claims = { jti: sub, sub_id: subject, events: { [CREDENTIAL_CHANGE]: {} } };
  const body = await idp.mint({ subject: sub, audience: 'cambist', type: 'secevent+jwt', claims });
  const headers = { 'content-type': 'application/secevent+jwt' };
  return call(`${url}/events/idp`, { method: 'POST', headers, body });
}

async function start(t: TestContext) {
  process.env[VARIABLE] = 'the key that all replicas of this test share';
  t.after(() => {
    delete process.env[VARIABLE];
  });
  const idp = await startFakeAuthorizationServer();
  t.after(idp.close);
  const server = createMemoryStore();
  const [one, other] = [await startReplica(t, server, idp), await startReplica(t, server, idp)];
  for (const replica of [one, other]) await replica.readKept?.();
  const token = async (sid: string) =>
    toSubject(await idp.mint({ subject: 'alice', claims: { sid, iat: Math.floor(Date.now() / 1000) - 60 } }));
  const kept = () => [...server.records.values()].reduce((sum, { size }) => sum + size - 1, 0);
  return { idp, server, one, other, token, kept };
}

test('accepts a signal once the other replicas know of it', async (t) => {
  const { idp, one, other, token, kept } = await start(t);
  assert.equal(await logout(idp, one.url, 's1'), 200);
  // One for the session, and one for tokens of its user that name no session.
  assert.equal(kept(), 2);
  assert.deepEqual([await token('s1'), await token('s2')].map(other.revocations.isRevoked), [true, false]);
});

test('accepts a logout while the store is away, and shares it later', async (t) => {
  const { idp, server, one, other, token, kept } = await start(t);
  server.fault = new Error('closed');
  server.drop(new Error('closed'));
  assert.equal(await logout(idp, one.url, 's1'), 200);
  assert.ok(one.revocations.isRevoked(await token('s1')));
  assert.deepEqual(one.status().replicas, { unshared: 2, in_sync: false, full: false });
  server.fault = undefined;
  const subject = await token('s1');
  await eventually('the other one knows', () => other.revocations.isRevoked(subject));
  await eventually('it is kept', () => kept() === 2);
});

test('a pushed event takes effect here while the store is away, and the transmitter is asked to send it again', async (t) => {
  const { idp, server, one, other, token, kept } = await start(t);
  server.fault = new Error('closed');
  server.drop(new Error('closed'));
  for (let i = 0; i < 2; i += 1) {
    const response = await push(idp, one.url, 'alice');
    assert.deepEqual([response.status, response.headers['retry-after']], [503, '5']);
  }
  const subject = await token('s1');
  assert.ok(one.revocations.isRevoked(subject));
  server.fault = undefined;
  await eventually('the other one knows', () => other.revocations.isRevoked(subject));
  await eventually('it is accepted', async () => (await push(idp, one.url, 'alice')).status === 202);
  assert.equal(kept(), 1);
  await one.allShared();
});
