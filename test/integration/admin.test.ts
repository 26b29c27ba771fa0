import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { createLeakWatch } from '../harness/leaks.ts';
import { sumSamples } from '../harness/metric-samples.ts';

test('is live at once, and ready once the metadata of the authorization server is loaded', async (t) => {
  const authorizationServer = await startFakeAuthorizationServer();
  t.after(authorizationServer.close);
  authorizationServer.metadataBehaviour = { kind: 'response', status: 503 };
  const app = await startTestApp(t, {
    authorization_servers: {
      local: { issuer: authorizationServer.issuer, client_id: 'c', client_auth: { method: 'none' } },
    },
    routes: [{ name: 'github', match: { path: '/github' }, upstream: 'http://127.0.0.1:1' }],
  });
  assert.equal((await call(`${app.admin}/livez`)).status, 200);
  const readyz = async () => call(`${app.admin}/readyz`);
  await eventually('the fault is reported', async () => (await readyz()).text.includes('ERR_STS_UNAVAILABLE'));
  const before = await readyz();
  assert.equal(before.status, 503);
  assert.deepEqual(JSON.parse(before.text), {
    ready: false,
    checks: { 'authorization_servers.local': 'ERR_STS_UNAVAILABLE' },
  });
  authorizationServer.metadataBehaviour = { kind: 'document' };
  await eventually('the proxy is ready', async () => (await readyz()).status === 200);
  assert.deepEqual(JSON.parse((await readyz()).text), {
    ready: true,
    checks: { 'authorization_servers.local': 'ready' },
  });
});

test('exposes the series of every route at 0 before the first request', async (t) => {
  const { app } = await startGateway(t);
  const text = await app.metrics();
  for (const series of [
    'cambist_requests_total{route="github",method="POST",code="200",outcome="forwarded"} 0',
    'cambist_requests_in_flight{route="github"} 0',
    'cambist_open_streams{route="github"} 0',
    'cambist_cache_requests_total{route="github",result="hit"} 0',
    'cambist_exchanges_total{route="github",authorization_server="local",result="success",error=""} 0',
    'cambist_upstream_retries_total{route="github",reason="token"} 0',
    'cambist_cache_entries 0',
    'cambist_cache_evictions_total{reason="capacity"} 0',
    'cambist_config_reloads_total{result="failure"} 0',
    'cambist_config_last_reload_successful 1',
    'cambist_build_info{version="test"} 1',
  ]) {
    assert.ok(text.split('\n').includes(series), series);
  }
});

test('counts a request, its exchange and its cache entry', async (t) => {
  const { app, authorization } = await startGateway(t);
  for (let i = 0; i < 3; i += 1) await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  await call(`${app.url}/github`);
  const text = await app.metrics();
  const route = 'github';
  assert.equal(
    sumSamples(text, 'cambist_requests_total', { route, method: 'POST', code: '200', outcome: 'forwarded' }),
    3,
  );
  assert.equal(
    sumSamples(text, 'cambist_requests_total', { route, method: 'GET', code: '401', outcome: 'refused' }),
    1,
  );
  assert.equal(sumSamples(text, 'cambist_request_duration_seconds_count', { route }), 4);
  assert.equal(sumSamples(text, 'cambist_exchanges_total', { route, result: 'success' }), 1);
  assert.equal(sumSamples(text, 'cambist_exchange_duration_seconds_count', { authorization_server: 'local' }), 1);
  assert.equal(sumSamples(text, 'cambist_cache_requests_total', { route, result: 'miss' }), 1);
  assert.equal(sumSamples(text, 'cambist_cache_requests_total', { route, result: 'hit' }), 2);
  assert.equal(sumSamples(text, 'cambist_cache_entries'), 1);
});

test('logs one line for each request, with status, outcome and durations', async (t) => {
  const { app, authorization } = await startGateway(t);
  const headers = { authorization, 'x-request-id': 'request-1' };
  await call(`${app.url}/github`, { headers, body: '{}' });
  await eventually('the line is written', () => app.logs.some(({ msg }) => msg === 'request'));
  const line = app.logs.find(({ msg }) => msg === 'request') ?? {};
  const { time: _time, duration_ms: duration, exchange_ms: exchange, total_ms: total, ...rest } = line;
  assert.deepEqual(rest, {
    level: 'info',
    request_id: 'request-1',
    route: 'github',
    method: 'POST',
    status: 200,
    outcome: 'forwarded',
    cache: 'miss',
    msg: 'request',
  });
  for (const ms of [duration, exchange, total]) assert.ok(typeof ms === 'number' && ms >= 0);
});

test('shows no token in the log, the metrics or any page of the admin listener', async (t) => {
  const { app, authorizationServer, authorization, subjectToken } = await startGateway(t);
  await call(`${app.url}/github`, { headers: { authorization } });
  authorizationServer.behaviour = {
    kind: 'response',
    status: 400,
    body: { error: 'invalid_grant', error_description: subjectToken },
  };
  await call(`${app.url}/github`, { headers: { authorization, 'mcp-session-id': 'another' } });
  const leaks = createLeakWatch();
  leaks.remember(subjectToken);
  for (const { issued } of authorizationServer.requests) if (issued !== undefined) leaks.remember(issued);
  const page = async (path: string) => (await call(`${app.admin}${path}`)).text;
  leaks.assertNoLeak({
    log: app.logText(),
    metrics: await page('/metrics'),
    readyz: await page('/readyz'),
    cache: await page('/cache'),
    other: await page(`/${subjectToken.slice(0, 5)}`),
  });
});

test('serves no route on the admin listener, and no admin page on the proxy listener', async (t) => {
  const { app, authorization } = await startGateway(t);
  assert.equal((await call(`${app.admin}/github`, { headers: { authorization } })).status, 404);
  for (const path of ['/metrics', '/livez', '/readyz', '/cache']) {
    assert.equal((await call(`${app.url}${path}`)).status, 403, path);
  }
});
