import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { routeTo } from '../harness/app.ts';
import { readRecords, recordsOf } from '../harness/audit-records.ts';
import { eventually } from '../harness/eventually.ts';
import { type MintFields, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { LOGOUT, postEvent, postLogout } from '../harness/fake-transmitter.ts';
import { echo } from '../harness/fake-upstream.ts';
import { lastHandle, startInboundGateway } from '../harness/gateway.ts';
import { call, open } from '../harness/http-call.ts';
import { temporaryFolder } from '../harness/lifetime.ts';

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type/';
const AUTHORIZATION = 'Bearer of-the-transmitter';

/** cambist with a transmitter that pushes events and logs sessions out. */
async function start(t: TestContext, top: Record<string, unknown> = {}) {
  const folder = temporaryFolder(t);
  const file = join(folder, 'authorization');
  await writeFile(file, `${AUTHORIZATION}\n`);
  const idp = await startFakeAuthorizationServer(t);
  const own = { issuer: idp.issuer, audience: 'cambist' };
  const pushing = { ...own, delivery: 'push', authorization: { file }, backchannel_logout: true };
  const { app, agent, backend } = await startInboundGateway(t, {
    authorizationServer: idp,
    agent: echo,
    backend: (request, response) => {
      if (request.url?.endsWith('/stream') !== true) return echo(request, response);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
    },
    inbound: { allow_raw_tokens: true, detached: 'allow' },
    route: { name: 'tools', match: { path: '/tools' } },
    moreRoutes: ({ url }) => [
      routeTo('verified', `${url}/mcp`, { subject_token: { verify: own } }),
      routeTo('own', `${url}/own`, { credential: 'passthrough' }),
    ],
    top: { signals: { listen: '127.0.0.1:0', transmitters: { idp: pushing } }, ...top },
  });
  const nowSeconds = () => Math.floor(Date.now() / 1000);
  const caller = (sub: string, sid: string, claims: Record<string, unknown> = {}) =>
    idp.mint({ subject: sub, audience: ['cambist', 'agent'], claims: { sid, iat: nowSeconds() - 60, ...claims } });
  const status = async (token: string, path = '/tools') =>
    (await call(app.url + path, { headers: { authorization: `Bearer ${token}` } })).status;
  const signed = (type: string, claims: Record<string, unknown>, fields: MintFields = {}) =>
    idp.mint({ audience: 'cambist', type, claims: { jti: Math.random().toString(36), ...claims }, ...fields });
  const push = async (claims: Record<string, unknown>, headers: Record<string, string> = {}) =>
    postEvent(app.signals, await signed('secevent+jwt', claims), { authorization: AUTHORIZATION, ...headers });
  const logout = async (claims: Record<string, unknown>, type = 'logout+jwt') =>
    postLogout(app.signals, await signed(type, { events: LOGOUT, ...claims }));
  const signals = (labels: Record<string, string>) => app.metric('cambist_signals_total', labels);
  return { app, idp, backend, agent, caller, status, signed, push, logout, signals, nowSeconds };
}

test('a back-channel logout ends one session, drops its tokens, and leaves the other session alone', async (t) => {
  const { app, caller, status, logout, signals, nowSeconds } = await start(t);
  const [one, other] = [await caller('alice', 's1'), await caller('alice', 's2')];
  assert.deepEqual([await status(one), await status(other)], [200, 200]);
  assert.equal((await logout({ sub: 'alice', sid: 's1' })).status, 200);
  assert.deepEqual([await status(one), await status(other)], [401, 200]);
  await app.metricBecomes('cambist_cache_evictions_total', 1, { reason: 'revoked' });
  assert.equal((await logout({ sub: 'alice', sid: 's1', iat: nowSeconds() - 5 })).status, 200);
  assert.equal(await signals({ channel: 'logout', result: 'applied' }), 1);
  assert.equal(await signals({ channel: 'logout', result: 'unchanged' }), 1);
  assert.equal(await status(other), 200);
  assert.ok(!app.logText().includes('alice'));
});

test('the audit trail says whose revoked token was refused, and whether it was verified; the log says why', async (t) => {
  const file = join(temporaryFolder(t), 'audit.jsonl');
  const { app, caller, status, logout } = await start(t, { audit: { to: { file } } });
  await logout({ sub: 'alice' });
  const token = await caller('alice', 's1');
  const forged = `${token.slice(0, -8)}AAAAAAAA`;
  for (const path of ['/tools', '/verified', '/own']) assert.equal(await status(token, path), 401);
  assert.equal((await call(app.inbound ?? '', { headers: { authorization: `Bearer ${token}` } })).status, 401);
  assert.equal(await status(forged, '/verified'), 401);
  const refused = () => recordsOf('request', readRecords(file));
  const lines = () => app.logs.filter(({ msg }) => msg === 'request');
  await eventually('the records', () => refused().length === 5 && lines().length === 5);
  assert.deepEqual(
    refused().map(({ route, subject }) => [route, subject?.verified, subject?.claims.sub]),
    [
      ['tools', false, 'alice'],
      ['verified', true, 'alice'],
      ['own', false, 'alice'],
      ['_inbound', true, 'alice'],
      ['verified', undefined, undefined],
    ],
  );
  const reasons = lines().map(({ finding, fix }) => [finding, typeof fix]);
  assert.deepEqual(reasons.slice(0, 4), Array(4).fill(['subject_token_revoked', 'string']));
});

test('a logout of a session also ends tokens of its user that name no session', async (t) => {
  const { idp, status, logout } = await start(t);
  const claims = { iat: Math.floor(Date.now() / 1000) - 60 };
  const [alice, bob] = [await idp.mint({ subject: 'alice', claims }), await idp.mint({ subject: 'bob', claims })];
  await logout({ sub: 'alice', sid: 's1' });
  assert.deepEqual([await status(alice), await status(bob)], [401, 200]);
});

test('cuts the open stream of a revoked session and no other', async (t) => {
  const { app, caller, logout } = await start(t);
  const [one, other] = [await caller('alice', 's1'), await caller('alice', 's2')];
  const streams = await Promise.all(
    [one, other].map((token) => open(`${app.url}/tools/stream`, { headers: { authorization: `Bearer ${token}` } })),
  );
  for (const stream of streams) await once(stream, 'data');
  for (const stream of streams) stream.on('error', () => {});
  await logout({ sid: 's1' });
  await eventually('the cut', () => streams[0]?.closed === true);
  await app.metricBecomes('cambist_requests_aborted_total', 1, { aborted_by: 'revoked' });
  assert.equal(streams[1]?.closed, false);
  streams[1]?.destroy();
});

/** A request whose caller is revoked while its exchange waits. `issue` ends the exchange. */
async function revokeDuringExchange(t: TestContext) {
  const { app, idp, backend, caller, logout } = await start(t);
  let issue = () => {};
  idp.behaviour = { kind: 'issue', until: new Promise<void>((resolve) => (issue = resolve)) };
  const authorization = `Bearer ${await caller('alice', 's1')}`;
  const response = call(`${app.url}/tools`, { headers: { authorization } });
  await eventually('the exchange', () => idp.requests.length === 1);
  await logout({ sid: 's1' });
  return { idp, backend, issue, response, again: () => call(`${app.url}/tools`, { headers: { authorization } }) };
}

test('ends a request that waits for its token with 401, and never calls the backend for it', async (t) => {
  const { idp, backend, issue, response, again } = await revokeDuringExchange(t);
  assert.equal((await response).status, 401);
  issue();
  await eventually('the exchange to end', () => idp.inFlight() === 0);
  assert.equal((await again()).status, 401);
  assert.equal(backend.requests.length, 0);
});

test('does not call the backend if the token arrives right after a revocation', async (t) => {
  const { backend, issue, response } = await revokeDuringExchange(t);
  issue();
  assert.equal((await response).status, 401);
  assert.equal(backend.requests.length, 0);
});

test('a pushed event revokes all older tokens of its subject, and no newer one', async (t) => {
  const { caller, status, push, signals, nowSeconds } = await start(t);
  const [one, other, bob] = [await caller('alice', 's1'), await caller('alice', 's2'), await caller('bob', 's3')];
  const { iss } = JSON.parse(Buffer.from(one.split('.')[1] ?? '', 'base64url').toString()) as { iss: string };
  const event = { event_timestamp: nowSeconds() - 10 };
  const subject = { format: 'iss_sub', iss, sub: 'alice' };
  assert.equal((await push({ sub_id: subject, events: { [`${CAEP}credential-change`]: event } })).status, 202);
  assert.deepEqual([await status(one), await status(other), await status(bob)], [401, 401, 200]);
  assert.equal(await status(await caller('alice', 's1', { iat: nowSeconds() })), 200);
  assert.equal((await push({ sub_id: subject, events: { [`${CAEP}credential-change`]: event } })).status, 202);
  assert.equal((await push({ sub_id: subject, events: { 'https://example.com/unknown': {} } })).status, 202);
  for (const result of ['applied', 'unchanged', 'ignored'])
    assert.equal(await signals({ channel: 'push', result }), 1, result);
});

test('a revoked token is refused on a passthrough route too', async (t) => {
  const { app, caller, status, logout, backend } = await start(t);
  const token = await caller('alice', 's1');
  assert.equal(await status(token, '/own'), 200);
  await logout({ sid: 's1' });
  assert.equal(await status(token, '/own'), 401);
  // A backend may find the token where cambist expects none.
  const spellings = [
    token,
    `Bearer\t${token}`,
    `Bearer ${token} more`,
    `Bearer x,${token}`,
    `${'a '.repeat(20)}${token}`,
  ];
  for (const authorization of spellings) {
    const response = await call(`${app.url}/own`, { headers: { authorization } });
    assert.equal(response.status, 401, authorization.slice(0, 12));
  }
  assert.equal(backend.requests.length, 1);
});

test('a revoked caller of the agent is refused, and so is its handle', async (t) => {
  const { app, agent, caller, logout } = await start(t);
  const authorization = `Bearer ${await caller('alice', 's1')}`;
  assert.equal((await call(app.inbound ?? '', { headers: { authorization } })).status, 200);
  const handle = `Bearer ${lastHandle({ agent })}`;
  assert.equal((await call(`${app.url}/tools`, { headers: { authorization: handle } })).status, 200);
  await logout({ sid: 's1' });
  assert.equal((await call(app.inbound ?? '', { headers: { authorization } })).status, 401);
  assert.equal((await call(`${app.url}/tools`, { headers: { authorization: handle } })).status, 401);
});

test('serves a transmitter while silent connections use up the limit', async (t) => {
  const { app, caller, status, logout } = await start(t);
  const token = await caller('alice', 's1');
  const { hostname, port } = new URL(app.signals ?? '');
  const silent = Array.from({ length: 300 }, () => connect(Number(port), hostname).on('error', () => {}));
  t.after(() => {
    for (const socket of silent) socket.destroy();
  });
  await Promise.all(silent.map((socket) => once(socket, 'connect')));
  assert.equal((await logout({ sid: 's1' })).status, 200);
  assert.equal(await status(token), 401);
});

test('refuses what is not a signal of the transmitter, as the specifications require, and revokes nothing', async (t) => {
  const { app, idp, caller, status, signed, push, logout, signals, nowSeconds } = await start(t);
  const token = await caller('alice', 's1');
  const events = { [`${CAEP}session-revoked`]: { event_timestamp: nowSeconds() } };
  const sub_id = { format: 'iss_sub', iss: idp.issuer, sub: 'alice' };
  const event = { sub_id, events };
  const wrong = await push(event, { authorization: 'Bearer other' });
  assert.deepEqual([wrong.status, JSON.parse(wrong.text).err], [401, 'authentication_failed']);
  assert.equal(wrong.headers['www-authenticate'], 'Bearer realm="signals"');
  assert.equal(wrong.headers['content-language'], 'en');
  assert.equal((await push(event, { 'content-type': 'application/json' })).status, 400);
  for (const [body, err] of [
    [await signed('secevent+jwt', event, { audience: 'other' }), 'invalid_audience'],
    [await signed('secevent+jwt', { ...event, iss: 'https://evil' }), 'invalid_issuer'],
    [await signed('secevent+jwt', { sub_id }), 'invalid_request'],
    ['x'.repeat(70_000), 'invalid_request'],
  ] as const) {
    const response = await postEvent(app.signals, body, { authorization: AUTHORIZATION });
    assert.deepEqual([response.status, JSON.parse(response.text).err], [400, err]);
    assert.equal(response.headers['www-authenticate'], undefined);
    assert.equal(response.headers['content-language'], 'en');
  }
  const headers = { 'content-type': 'application/json' };
  for (const { status, headers: given } of [
    await logout({ sid: 's1', nonce: 'n' }),
    await logout({ sid: 's1' }, 'secevent+jwt'),
    await postLogout(app.signals, 'x'),
    await call(`${app.signals}/logout/idp`, { method: 'POST', headers, body: '{}' }),
  ]) {
    assert.deepEqual([status, given['cache-control']], [400, 'no-store']);
  }
  assert.equal((await call(`${app.signals}/logout/other`, { method: 'POST' })).status, 404);
  // Another issuer's subject.
  assert.equal((await push({ sub_id: { ...sub_id, iss: 'https://other' }, events })).status, 202);
  assert.equal(await signals({ result: 'applied' }), 0);
  assert.equal(await status(token), 200);
});
