import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DecisionReport } from '../../src/admin/decision-report.ts';
import { REMEMBERED_DECISIONS } from '../../src/proxy/recent-decisions.ts';
import { eventually } from '../harness/eventually.ts';
import { firstThen, respond } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const traceparent = `00-${TRACE_ID}-b7ad6b7169203331-01`;

test('logs one line for each request, with status, outcome and durations, and the ids of its exchange', async (t) => {
  const { app, send, upstream } = await startGateway(t);
  await send({ traceparent, tracestate: 'a=b', 'x-request-id': 'request-1' }, '{}');
  const [line = {}, ...others] = await app.logged('request');
  assert.deepEqual(others, []);
  const { time: _time, duration_ms: duration, exchange_ms: exchange, total_ms: total, ...rest } = line;
  assert.deepEqual(rest, {
    level: 'info',
    request_id: 'request-1',
    trace_id: TRACE_ID,
    route: 'github',
    method: 'POST',
    status: 200,
    outcome: 'forwarded',
    cache: 'miss',
    msg: 'request',
  });
  for (const ms of [duration, exchange, total]) assert.ok(typeof ms === 'number' && ms >= 0);
  const [made] = await app.logged('exchange');
  assert.deepEqual([made?.request_id, made?.trace_id, made?.route], ['request-1', TRACE_ID, 'github']);
  const { headers: sent } = upstream.requests[0] ?? {};
  assert.deepEqual([sent?.traceparent, sent?.tracestate], [traceparent, 'a=b']);
});

const MORE_SCOPES = { 'www-authenticate': 'Bearer error="insufficient_scope", scope="write"' };

for (const [event, route, refuse] of [
  ['a retry', {}, respond(401)],
  ['a step-up', { scope: 'read', step_up: ['write'] }, respond(403, '', MORE_SCOPES)],
] as const) {
  test(`includes the exchange of ${event} in exchange_ms`, async (t) => {
    const { app, authorizationServer, send } = await startGateway(t, { route, handler: firstThen(refuse) });
    authorizationServer.behaviour = { kind: 'issue', delayMs: 200 };
    assert.equal((await send({}, '{}')).status, 200);
    const [line] = await app.logged('request');
    const exchanges = (await app.logged('exchange')).map(({ duration_ms: ms }) => Number(ms));
    assert.equal(exchanges.length, 2);
    const waited = Number(line?.exchange_ms);
    const oneAlone = Math.max(...exchanges) + 100;
    assert.ok(waited > oneAlone, `exchange_ms is ${waited} for exchanges of ${exchanges.join(' ms and ')} ms`);
  });
}

test('logs failed requests but no successful ones if log.sample is 0', async (t) => {
  const { app, send } = await startGateway(t, { top: { log: { sample: 0 } } });
  await send({ 'x-request-id': 'good' });
  await send({ 'x-request-id': 'bad', authorization: '' });
  const ids = (await app.logged('request')).map(({ request_id }) => request_id);
  assert.deepEqual(ids, ['bad']);
});

test('logs once when an authorization server becomes unavailable, and once when it recovers', async (t) => {
  const { app, authorizationServer, send } = await startGateway(t);
  const newCaller = async () => (await send({ authorization: `Bearer ${await authorizationServer.mint()}` })).status;
  authorizationServer.behaviour = { kind: 'response', status: 500 };
  for (let i = 0; i < 5; i += 1) await newCaller();
  const available = () => app.metric('cambist_authorization_server_available', { authorization_server: 'local' });
  assert.equal(await available(), 0);
  authorizationServer.behaviour = { kind: 'issue' };
  await eventually('the server has recovered', async () => (await newCaller()) === 200);
  assert.equal(await available(), 1);
  const levels = app.logs
    .filter(({ msg }) => String(msg).startsWith('authorization server '))
    .map(({ level }) => level);
  assert.deepEqual(levels, ['warn', 'info']);
});

test('names the grant of requests that run as cambist itself, and counts them, cached or not', async (t) => {
  const { app, send } = await startGateway(t, { route: { on_missing_subject: 'client_credentials' } });
  for (const headers of [{ authorization: '' }, { authorization: '' }, {}]) await send(headers, '{}');
  const requests = (await app.logged('request', 3)).map(({ cache, grant }) => `${cache} ${grant}`);
  assert.deepEqual(requests, ['miss client_credentials', 'hit client_credentials', 'miss undefined']);
  const grants = (await app.logged('exchange', 2)).map(({ grant }) => grant);
  assert.deepEqual(grants, ['client_credentials', 'token_exchange']);
  assert.equal(await app.metric('cambist_own_token_requests_total', { route: 'github' }), 2);
});

async function decisionsOf(admin: string, after = 0): Promise<DecisionReport> {
  return (await fetch(`${admin}/decisions?after=${after}`)).json() as Promise<DecisionReport>;
}

test('shows the route, why it matched, the cache result, and audience and scope as asked for and as issued', async (t) => {
  const { app, authorizationServer, send } = await startGateway(t, {
    route: { match: { path: '/github', methods: ['POST'] }, scope: 'read write', audience: 'github' },
  });
  authorizationServer.behaviour = { kind: 'issue', claims: { scope: 'read' } };
  for (let i = 0; i < 2; i += 1) await send({}, '{}');
  const { last, missed, decisions } = await decisionsOf(app.admin);
  assert.deepEqual([last, missed, decisions.length], [2, 0, 2]);
  const [miss, hit] = decisions;
  assert.deepEqual([miss?.cache, hit?.cache], ['miss', 'hit']);
  assert.deepEqual([typeof miss?.exchange_ms, hit?.exchange_ms], ['number', undefined]);
  const { number, route, matched, status, outcome, requested, granted } = hit ?? {};
  assert.deepEqual([number, route, status, outcome], [2, 'github', 200, 'forwarded']);
  assert.equal(matched, 'any host, path /github, method POST');
  assert.deepEqual(requested, { audience: ['github'], scope: 'read write' });
  assert.equal(granted?.scope, 'read');
  assert.ok((granted?.audience ?? []).length > 0);
});

test('shows the audience of an issued token that is refused for it', async (t) => {
  const { app, authorizationServer, send } = await startGateway(t);
  authorizationServer.behaviour = { kind: 'issue', audience: ['other'] };
  await send();
  const [refused] = (await decisionsOf(app.admin)).decisions;
  assert.deepEqual([refused?.error, refused?.granted?.audience], ['ERR_ISSUED_TOKEN_AUDIENCE', ['other']]);
});

test('shows no subject, no token and no text of the caller', async (t) => {
  const { app, authorizationServer } = await startGateway(t);
  const token = await authorizationServer.mint({ subject: 'alice-7f3a' });
  const headers = {
    authorization: `Bearer ${token}`,
    'x-request-id': 'chosen-7f3a',
    'mcp-name': 'chosen-7f3a',
    'mcp-session-id': 'chosen-7f3a',
    traceparent: `00-${'7f3a'.repeat(8)}-b7ad6b7169203331-01`,
  };
  await call(`${app.url}/github/chosen-7f3a?q=chosen-7f3a`, { headers, body: '{"chosen":"7f3a"}' });
  await call(`${app.url}/chosen-7f3a`, { headers: { host: 'chosen-7f3a' }, method: 'CHOSEN' }).catch(() => {});
  const text = JSON.stringify(await decisionsOf(app.admin));
  assert.ok(text.includes('"route":"github"'));
  assert.ok(!/7f3a|chosen/i.test(text), text);
  assert.ok(!text.includes(token));
});

test('names the error of a refused request, and the decisions after a number', async (t) => {
  const { app } = await startGateway(t);
  await call(`${app.url}/nowhere`);
  await call(`${app.url}/github`);
  const { decisions } = await decisionsOf(app.admin, 1);
  const shown = decisions.map(({ number, route, status, error }) => [number, route, status, error]);
  assert.deepEqual(shown, [[2, 'github', 401, 'ERR_SUBJECT_TOKEN_MISSING']]);
});

test('keeps the last decisions, and counts those that a slow reader missed', async (t) => {
  const { app } = await startPlainGateway(t);
  const total = REMEMBERED_DECISIONS + 10;
  for (let sent = 0; sent < total; sent += 86) {
    await Promise.all(Array.from({ length: Math.min(86, total - sent) }, () => call(`${app.url}/nowhere`)));
  }
  const { last, missed, decisions } = await decisionsOf(app.admin, 4);
  assert.deepEqual([last, missed, decisions.length], [total, 6, REMEMBERED_DECISIONS]);
  assert.deepEqual([decisions[0]?.number, decisions.at(-1)?.number], [11, total]);
  await eventually('a reader of an earlier process starts again', async () => {
    const report = await decisionsOf(app.admin, total + 1000);
    return report.decisions.length === REMEMBERED_DECISIONS;
  });
});

test('refuses an invalid number and a public Host', async (t) => {
  const { app } = await startPlainGateway(t);
  for (const query of ['after=-1', 'after=x', 'after=1&after=2', `after=${'9'.repeat(20)}`]) {
    assert.equal((await fetch(`${app.admin}/decisions?${query}`)).status, 400, query);
  }
  const headers = { host: 'attacker.example.com' };
  assert.equal((await call(`${app.admin}/decisions`, { headers })).status, 403);
});
