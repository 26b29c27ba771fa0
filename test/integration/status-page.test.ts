import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StatusReport } from '../../src/admin/status.ts';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { createLeakWatch } from '../harness/leaks.ts';

test('shows requests, failures and the state of the authorization server', async (t) => {
  const { app, authorization, authorizationServer, config } = await startGateway(t);
  await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  await call(`${app.url}/github`);
  const report = JSON.parse((await call(`${app.admin}/status.json`)).text) as StatusReport;
  assert.equal(report.ready, true);
  const [route] = report.routes;
  assert.deepEqual(
    [route?.name, route?.requests, route?.failures, route?.needed_token, route?.served_from_cache],
    ['github', 3, 1, 2, 1],
  );
  assert.deepEqual(
    report.failures.map(({ error, count }) => [error, count]),
    [['ERR_SUBJECT_TOKEN_MISSING', 1]],
  );
  assert.equal(report.cache.entries, 1);
  authorizationServer.behaviour = { kind: 'reset' };
  // Another scope needs another token. Only failures of callers that the server has accepted before show that it is down.
  app.reloadTo({ ...config, routes: config.routes.map((one) => ({ ...one, scope: 'other' })) });
  for (let i = 0; i < 3; i += 1) await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  const page = (await call(`${app.admin}/`)).text;
  assert.match(page, /Authorization server <strong>local<\/strong> is down\./);
  assert.match(page, /ERR_STS_UNAVAILABLE/);
});

test('shows the last reload and the version of the active config', async (t) => {
  const { app, config } = await startGateway(t);
  const report = async () => (JSON.parse((await call(`${app.admin}/status.json`)).text) as StatusReport).config;
  const first = await report();
  assert.ok(!('last_reload' in first));
  app.reloadTo({ ...config, cache: { max_entries: 5 } });
  const second = await report();
  assert.equal(second.last_reload?.result, 'success');
  assert.notEqual(second.version, first.version);
  app.reloadFailed();
  assert.deepEqual([(await report()).version, (await report()).last_reload?.result], [second.version, 'failure']);
});

test('shows the keys that wait for a restart until the file has the active values again', async (t) => {
  const { app, config } = await startGateway(t);
  const waiting = async () =>
    (JSON.parse((await call(`${app.admin}/status.json`)).text) as StatusReport).config.waits_for_restart;
  assert.deepEqual(await waiting(), []);
  app.reloadTo({ ...config, listen: '127.0.0.1:1', limits: { max_header_size: '64KiB' } });
  assert.deepEqual(await waiting(), ['listen', 'limits.max_header_size']);
  app.reloadFailed();
  assert.deepEqual(await waiting(), ['listen', 'limits.max_header_size']);
  assert.match((await call(`${app.admin}/`)).text, /but not in effect: <code>listen<\/code>/);
  app.reloadTo(config);
  assert.deepEqual(await waiting(), []);
});

test('shows no token, session, user or address', async (t) => {
  const { app, authorization, subjectToken, authorizationServer } = await startGateway(t);
  const leaks = createLeakWatch();
  leaks.remember(subjectToken);
  const headers = { authorization, 'mcp-session-id': 'session-of-alice', 'x-request-id': 'request-of-alice' };
  await call(`${app.url}/github/path-of-alice?query=of-alice`, { headers, body: '{}' });
  authorizationServer.behaviour = {
    kind: 'response',
    status: 400,
    body: { error: 'invalid_grant', error_description: 'of-alice' },
  };
  await call(`${app.url}/github`, { headers: { ...headers, 'mcp-session-id': 'another' } });
  for (const { issued } of authorizationServer.requests) if (issued !== undefined) leaks.remember(issued);
  for (const path of ['/', '/status.json']) {
    const { text } = await call(`${app.admin}${path}`);
    leaks.assertNoLeak({ [path]: text });
    assert.doesNotMatch(text, /of-alice|127\.0\.0\.1/, path);
  }
});
