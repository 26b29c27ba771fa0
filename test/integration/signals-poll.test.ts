import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/clock/clock.ts';
import { createLogger } from '../../src/observability/logger.ts';
import { openSharedCache } from '../../src/shared-cache/shared-cache.ts';
import { signRevocation } from '../../src/signals/operator.ts';
import { createSignals } from '../../src/signals/signals.ts';
import { toSubject } from '../../src/tokens/subject.ts';
import { createDispatchers } from '../../src/transport/dispatchers.ts';
import { configOf } from '../harness/app.ts';
import { readRecords, recordsOf } from '../harness/audit-records.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { type FakeAuthorizationServer, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { createFakeTransmitter, LOGOUT, postEvent, postLogout } from '../harness/fake-transmitter.ts';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { createMemoryStore, type MemoryStore } from '../harness/memory-store.ts';
import { runDoctor } from './doctor-run.ts';

const REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked';
const VERIFICATION = 'https://schemas.openid.net/secevent/ssf/event-type/verification';
const SECRET = 'Bearer of-cambist-at-the-transmitter';

/** The issuer, which is also the transmitter, and the parts of a config. */
async function startIdp(t: TestContext, credential: 'file' | 'client') {
  const folder = temporaryFolder(t);
  const file = join(folder, 'authorization');
  await writeFile(file, `${SECRET}\n`);
  const transmitter = createFakeTransmitter();
  const idp = await startFakeAuthorizationServer(t, { respond: transmitter.respond });
  process.env.SIGNALS_POLL_SECRET = 'a secret';
  t.after(() => {
    delete process.env.SIGNALS_POLL_SECRET;
  });
  const client_auth = { method: 'client_secret_basic', client_secret: { env: 'SIGNALS_POLL_SECRET' } };
  const config = {
    authorization_servers: { local: { token_endpoint: idp.tokenEndpoint, client_id: 'c', client_auth } },
    signals: {
      transmitters: {
        idp: {
          issuer: idp.issuer,
          audience: 'cambist',
          delivery: 'poll',
          poll_endpoint: `${idp.issuer}/ssf/poll`,
          poll_interval: '1s',
          ...(credential === 'file'
            ? { authorization: { file } }
            : { authorization_server: 'local', scope: 'ssf.read ssf.manage' }),
        },
      },
    },
  };
  return { folder, transmitter, idp, config };
}

/** cambist with a transmitter that it polls. */
async function start(t: TestContext, credential: 'file' | 'client' = 'file') {
  const { folder, transmitter, idp, config } = await startIdp(t, credential);
  const records = join(folder, 'audit.jsonl');
  const top = { ...config, audit: { to: { file: records } } };
  const { app, send } = await startGateway(t, { authorizationServer: idp, top });
  const ago = (seconds: number) => Math.floor(Date.now() / 1000) - seconds;
  const caller = (sub: string, sid: string) =>
    idp.mint({ subject: sub, audience: ['cambist'], claims: { sid, iat: ago(60) } });
  const status = async (token: string) => (await send({ authorization: `Bearer ${token}` })).status;
  const offer = async (jti: string, claims: Record<string, unknown>, audience = 'cambist') =>
    transmitter.offer(jti, await idp.mint({ audience, type: 'secevent+jwt', claims: { jti, ...claims } }));
  const revoke = (jti: string, sub: string, sid: string) => {
    const user = { format: 'iss_sub', iss: idp.issuer, sub };
    return offer(jti, {
      sub_id: { format: 'complex', user, session: { format: 'opaque', id: sid } },
      events: { [REVOKED]: { event_timestamp: ago(0) } },
    });
  };
  const shown = async () => (await app.status()).signals?.transmitters[0];
  const metric = (name: string, labels: Record<string, string> = {}) =>
    app.metric(name, { transmitter: 'idp', ...labels });
  return { app, records, idp, transmitter, caller, status, offer, revoke, shown, metric };
}

test('polls a transmitter, applies an event at once, and acknowledges it', async (t) => {
  const { app, transmitter, caller, status, revoke, shown, metric } = await start(t);
  const [one, other] = [await caller('alice', 's1'), await caller('alice', 's2')];
  assert.deepEqual([await status(one), await status(other)], [200, 200]);
  await eventually('a long poll', () => transmitter.polls.some(({ returnImmediately }) => !returnImmediately));
  assert.equal(transmitter.authorization(), SECRET);
  await revoke('event-1', 'alice', 's1');
  await eventually('the revocation', async () => (await status(one)) === 401);
  assert.equal(await status(other), 200);
  await eventually('the acknowledgement', () => transmitter.pending.size === 0);
  assert.equal(await metric('cambist_signals_total', { channel: 'poll', result: 'applied' }), 1);
  assert.equal(await metric('cambist_transmitter_available'), 1);
  assert.ok((await metric('cambist_signal_polls_total', { result: 'success' })) >= 2);
  assert.ok((await metric('cambist_signal_last_timestamp_seconds')) > 0);
  const { available, last_poll_at, last_signal_at } = (await shown()) ?? {};
  assert.ok(available === true && last_poll_at !== undefined && last_signal_at !== undefined);
  assert.match((await call(`${app.admin}/`)).text, /Transmitters, with \d+ revocations in force/);
  assert.ok(!app.logText().includes('alice') && !app.logText().includes('of-cambist-at-the-transmitter'));
});

test('polls with a token of its client, and gets another one where it is refused', async (t) => {
  const { app, records, idp, transmitter, caller, status, revoke } = await start(t, 'client');
  await eventually('a poll', () => transmitter.polls.length > 0);
  const [request] = idp.requests;
  assert.equal(request?.form.get('grant_type'), 'client_credentials');
  assert.equal(request?.form.get('scope'), 'ssf.read ssf.manage');
  assert.equal(transmitter.authorization(), `Bearer ${request?.issued}`);
  const issued = { route: '_signals', authorization_server: 'local', result: 'success' };
  assert.equal(await app.metric('cambist_exchanges_total', issued), 1);
  const server = { authorization_server: 'local' };
  assert.equal(await app.metric('cambist_authorization_server_available', server), 1);
  assert.ok(app.logs.some(({ msg, route }) => msg === 'exchange' && route === '_signals'));
  await eventually('its audit record', () => recordsOf('exchange', readRecords(records)).length === 1);
  assert.equal(recordsOf('exchange', readRecords(records))[0]?.route, '_signals');
  const token = await caller('alice', 's1');
  transmitter.fault = 401;
  await revoke('event-1', 'alice', 's1');
  await eventually('another token', () => idp.requests.length > 1);
  transmitter.fault = undefined;
  await eventually('the revocation', async () => (await status(token)) === 401);
});

test('tells the transmitter about an event that is not for cambist, accepts a verification, and goes on', async (t) => {
  const { transmitter, caller, status, offer, revoke, metric } = await start(t);
  const token = await caller('alice', 's1');
  await offer('wrong', { sub_id: {}, events: { [REVOKED]: {} } }, 'another receiver');
  await offer('check', { sub_id: { format: 'opaque', id: 's' }, events: { [VERIFICATION]: { state: 'x' } } });
  await revoke('right', 'alice', 's1');
  await eventually('the revocation', async () => (await status(token)) === 401);
  await eventually('the report', () => transmitter.pending.size === 0);
  const report = transmitter.polls.find(({ setErrs }) => setErrs !== undefined);
  assert.deepEqual([report?.setErrs?.wrong?.err, report?.language], ['invalid_audience', 'en']);
  assert.equal(transmitter.polls[0]?.language, undefined);
  for (const result of ['refused', 'ignored', 'applied'])
    assert.equal(await metric('cambist_signals_total', { channel: 'poll', result }), 1, result);
  assert.equal(await metric('cambist_transmitter_available'), 1);
});

test('says that a transmitter is unavailable, why, and when it is back', async (t) => {
  const { app, transmitter, shown, metric } = await start(t);
  await eventually('a poll', () => transmitter.polls.length > 0);
  transmitter.fault = 503;
  transmitter.offer('wakes the poll that waits', 'x');
  await eventually('the problem', async () => (await shown())?.available === false);
  const { problem, fix } = (await shown()) ?? {};
  assert.equal(problem, 'unreachable');
  assert.match(fix ?? '', /^start the transmitter/);
  assert.equal(await metric('cambist_transmitter_available'), 0);
  assert.ok((await metric('cambist_signal_polls_total', { result: 'failure' })) > 0);
  const line = app.logs.find(({ reason }) => reason === 'unreachable');
  assert.match(String(line?.msg), /^transmitter is unavailable/);
  assert.equal(line?.fix, fix);
  assert.match((await call(`${app.admin}/`)).text, /Signals of transmitter <strong>idp<\/strong> may not arrive/);
  transmitter.fault = undefined;
  await app.logged('transmitter is available');
  assert.equal(await metric('cambist_transmitter_available'), 1);
});

test('stops without waiting for a long poll', async (t) => {
  const { app, transmitter } = await start(t);
  await eventually('a long poll', () => transmitter.polls.some(({ returnImmediately }) => !returnImmediately));
  await soon('the stop', app.stop());
});

for (const credential of ['file', 'client'] as const) {
  test(`doctor polls a transmitter without an acknowledgement, with a credential of a ${credential}`, async (t) => {
    const { transmitter, idp, config } = await startIdp(t, credential);
    const routes = [{ name: 'open', match: { path: '/' }, upstream: 'http://127.0.0.1:9', credential: 'none' }];
    transmitter.offer('event-1', 'x');
    const { finding } = await runDoctor(t, { ...config, routes });
    assert.equal(finding('transmitter_reached').what, 'transmitter "idp" responds to polls');
    assert.equal(transmitter.pending.size, 1);
    const scoped = idp.requests.filter(({ form }) => form.get('scope') === 'ssf.read ssf.manage');
    assert.equal(scoped.length, credential === 'client' ? 1 : 0);
    transmitter.fault = 404;
    const unknown = await runDoctor(t, { ...config, routes });
    assert.match(unknown.finding('transmitter_unavailable').why ?? '', /^stream: .*404/);
    transmitter.fault = 401;
    const refused = await runDoctor(t, { ...config, routes });
    assert.match(refused.finding('transmitter_unavailable').why ?? '', /^unauthorized: .*401/);
  });
}

const VARIABLE = 'SIGNALS_REPLICAS_KEY';
const CREDENTIAL_CHANGE = 'https://schemas.openid.net/secevent/caep/event-type/credential-change';

/** The part of a replica that receives signals, with a store in this process. */
async function startReplica(t: TestContext, server: MemoryStore, { issuer }: FakeAuthorizationServer) {
  const { cache, signals: config } = configOf({
    cache: { shared: { url: 'redis://127.0.0.1', timeout: '5s', key: { env: VARIABLE } } },
    signals: {
      listen: '127.0.0.1:0',
      transmitters: { idp: { issuer, audience: 'cambist', delivery: 'push', backchannel_logout: true } },
      revoke: { secret: { env: VARIABLE } },
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
    verified: () => [],
    onRevoked: () => {},
  });
  t.after(signals.close);
  const url = await signals.open(0o600);
  return { ...signals, url };
}

async function logout(idp: FakeAuthorizationServer, url: string | undefined, sid: string): Promise<number> {
  const claims = { jti: sid, events: LOGOUT, sid };
  const token = await idp.mint({ subject: 'alice', audience: 'cambist', type: 'logout+jwt', claims });
  return (await postLogout(url, token)).status;
}

async function push(idp: FakeAuthorizationServer, url: string | undefined, sub: string) {
  const subject = { format: 'iss_sub', iss: idp.issuer, sub };
  const claims = { jti: sub, sub_id: subject, events: { [CREDENTIAL_CHANGE]: {} } };
  return postEvent(url, await idp.mint({ subject: sub, audience: 'cambist', type: 'secevent+jwt', claims }));
}

async function startReplicas(t: TestContext) {
  process.env[VARIABLE] = 'the key that all replicas of this test share';
  t.after(() => {
    delete process.env[VARIABLE];
  });
  const idp = await startFakeAuthorizationServer(t);
  const server = createMemoryStore();
  const [one, other] = [await startReplica(t, server, idp), await startReplica(t, server, idp)];
  for (const replica of [one, other]) await replica.readKept?.();
  const token = async (sid: string) =>
    toSubject(await idp.mint({ subject: 'alice', claims: { sid, iat: Math.floor(Date.now() / 1000) - 60 } }));
  const kept = () => [...server.records.values()].reduce((sum, { size }) => sum + size - 1, 0);
  return { idp, server, one, other, token, kept };
}

test('accepts a logout once the other replicas know of it, or while the store is away, and shares it later', async (t) => {
  const { idp, server, one, other, token, kept } = await startReplicas(t);
  assert.equal(await logout(idp, one.url, 's1'), 200);
  // One for the session, and one for tokens of its user that name no session.
  assert.equal(kept(), 2);
  assert.deepEqual([await token('s1'), await token('s2')].map(other.revocations.isRevoked), [true, false]);
  server.fault = new Error('closed');
  server.drop(new Error('closed'));
  assert.equal(await logout(idp, one.url, 's2'), 200);
  const subject = await token('s2');
  assert.deepEqual(
    [one, other].map(({ revocations }) => revocations.isRevoked(subject)),
    [true, false],
  );
  server.fault = undefined;
  await eventually('the other one knows', () => other.revocations.isRevoked(subject));
  await eventually('it is kept', () => kept() === 3);
});

test('a revocation by an operator reaches the other replicas, at once or when the store is back', async (t) => {
  const { idp, server, one, other, token } = await startReplicas(t);
  const revoke = async (session: string) => {
    const operand = { issuer: idp.issuer, subject: 'alice', session };
    return one.revoke?.(await signRevocation({ secret: { env: VARIABLE } }, operand));
  };
  assert.deepEqual(await revoke('s1'), { result: 'applied', known_by: 'all' });
  assert.deepEqual([await token('s1'), await token('s2')].map(other.revocations.isRevoked), [true, false]);
  server.fault = new Error('closed');
  server.drop(new Error('closed'));
  assert.deepEqual(await revoke('s2'), { result: 'applied', known_by: 'this_so_far' });
  server.fault = undefined;
  const subject = await token('s2');
  await eventually('the other one knows', () => other.revocations.isRevoked(subject));
});

test('a pushed event takes effect here while the store is away, and the transmitter is asked to send it again', async (t) => {
  const { idp, server, one, other, token, kept } = await startReplicas(t);
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
