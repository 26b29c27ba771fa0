import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { routeTo, startTestApp } from '../harness/app.ts';
import { eventually } from '../harness/eventually.ts';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { createLeakWatch } from '../harness/leaks.ts';
import { temporaryFolder } from '../harness/lifetime.ts';

test('shows requests, failures and the state of the authorization server', async (t) => {
  const { app, authorization, authorizationServer, config } = await startGateway(t);
  await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  await call(`${app.url}/github`);
  const report = await app.status();
  assert.equal(report.ready, true);
  const [route] = report.routes;
  assert.deepEqual(
    [route?.name, route?.requests, route?.refused, route?.failed, route?.needed_token, route?.served_from_cache],
    ['github', 3, 1, 0, 2, 1],
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

test('shows the keys that wait for a restart until the file has the active values again', async (t) => {
  const { app, config } = await startGateway(t);
  const waiting = async () => (await app.status()).config.waits_for_restart;
  assert.deepEqual(await waiting(), []);
  app.reloadTo({ ...config, listen: '127.0.0.1:1', limits: { max_header_size: '64KiB' } });
  assert.deepEqual(await waiting(), ['listen', 'limits.max_header_size']);
  app.reloadFailed();
  assert.deepEqual(await waiting(), ['listen', 'limits.max_header_size']);
  assert.match((await call(`${app.admin}/`)).text, /but not in effect: <code>listen<\/code>/);
  app.reloadTo({ ...config, cache: { max_entries: 5 } });
  assert.match((await call(`${app.admin}/config.yaml`)).text, /max_entries: 5\n/);
  assert.deepEqual(await waiting(), []);
});

const PAGES = ['/', '/status.json', '/config.yaml', '/config.json', '/log-level'];

test('shows no token, session, user or query', async (t) => {
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
  for (const path of PAGES) {
    const { status, text } = await call(`${app.admin}${path}`);
    assert.equal(status, 200);
    leaks.assertNoLeak({ [path]: text });
    assert.doesNotMatch(text, /of-alice/, path);
  }
});

test('shows the active config without any secret: values, misplaced names, parameters and parts of URLs', async (t) => {
  const folder = temporaryFolder(t);
  const secrets = Array.from({ length: 10 }, () => randomBytes(18).toString('base64url').replaceAll(/[-_]/g, 'x1'));
  const [fromFile, fromVariable, asFile, asVariable, parameter, query, key, apiKey, keysQuery, signalsQuery] = secrets;
  const file = join(folder, 'client-secret');
  await writeFile(file, `${fromFile}\n`);
  await writeFile(join(folder, 'api-key'), `${apiKey}\n`);
  process.env.CAMBIST_TEST_SECRET = fromVariable;
  t.after(() => delete process.env.CAMBIST_TEST_SECRET);
  const server = (source: object) => ({
    token_endpoint: `https://idp.example.com/token?key=${query}`,
    client_id: 'cambist',
    client_auth: { method: 'client_secret_basic', client_secret: source },
    extra_params: { api_key: parameter },
  });
  const route = (name: string, keys: object) => routeTo(name, `https://mcp.example.com/${key}/mcp`, keys);
  const endpoint = `https://idp.example.com/endpoint?a=${keysQuery}`;
  const verify = { issuer: 'https://idp.example.com', jwks_uri: endpoint };
  const introspection = { authorization_server: 'by-file', endpoint };
  const app = await startTestApp(t, {
    signals: {
      transmitters: {
        idp: {
          issuer: 'https://idp.example.com',
          audience: 'cambist',
          delivery: 'poll',
          authorization: { file: `/${asFile}` },
          jwks_uri: `https://idp.example.com/k?a=${signalsQuery}`,
          poll_endpoint: `https://127.0.0.1:1/poll?a=${signalsQuery}`,
        },
      },
    },
    defaults: { resource: `https://mcp.example.com/${key}`, actor_token: { file: `/${asFile}` } },
    authorization_servers: {
      'by-file': server({ file }),
      'by-variable': server({ env: 'CAMBIST_TEST_SECRET' }),
      'misplaced-in-file': server({ file: asFile }),
      'misplaced-in-variable': server({ env: `A${asVariable}` }),
    },
    routes: [
      route('one', { authorization_server: 'by-file' }),
      route('two', {
        authorization_server: 'by-variable',
        subject_token: { verify: { ...verify, introspection } },
        audience: [endpoint],
        expect_audience: { only: endpoint },
        tls: { ca: { file: `/${asFile}` } },
      }),
      route('three', { authorization_server: 'misplaced-in-file' }),
      route('four', { authorization_server: 'misplaced-in-variable' }),
      route('five', { credential: 'secret', secret: { file: join(folder, 'api-key') } }),
    ],
  });
  for (const path of [...PAGES, '/metrics', '/readyz', '/cache']) {
    const { text } = await call(`${app.admin}${path}`);
    for (const [index, secret] of secrets.entries()) assert.ok(!text.includes(secret), `${path} shows secret ${index}`);
  }
  const yaml = (await call(`${app.admin}/config.yaml`)).text;
  for (const words of [
    `file: ${file}`,
    'env: CAMBIST_TEST_SECRET',
    'file: "[no such file]"',
    'env: "[variable not set]"',
    'api_key: "[hidden]"',
    'token_endpoint: https://idp.example.com/token?[hidden]',
    'upstream: https://mcp.example.com/[hidden]/mcp',
  ]) {
    assert.ok(yaml.includes(words), `${words}: ${yaml}`);
  }
  assert.deepEqual(parse(yaml), JSON.parse((await call(`${app.admin}/config.json`)).text));
});

test('logs every successful request at debug, whatever log.sample is', async (t) => {
  const { app, authorization, config } = await startGateway(t);
  app.reloadTo({ ...config, log: { sample: 0 } });
  const requests = () => app.logs.filter(({ msg }) => msg === 'request').length;
  await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  assert.equal(requests(), 0);
  const headers = { 'content-type': 'application/json' };
  await call(`${app.admin}/log-level`, { method: 'PUT', headers, body: '{"level":"debug"}' });
  await call(`${app.url}/github`, { headers: { authorization }, body: '{}' });
  await eventually('the line is written', () => requests() === 1);
});

test('serves no route on the admin listener, and no admin page on the proxy listener', async (t) => {
  const { app, authorization } = await startGateway(t);
  assert.equal((await call(`${app.admin}/github`, { headers: { authorization } })).status, 404);
  for (const path of ['/metrics', '/livez', '/readyz', '/cache']) {
    assert.equal((await call(`${app.url}${path}`)).status, 403, path);
  }
});
