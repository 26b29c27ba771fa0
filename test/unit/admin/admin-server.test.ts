import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Registry } from 'prom-client';
import { createAdminServer } from '../../../src/admin/admin-server.ts';
import { createExposition } from '../../../src/observability/exposition.ts';
import { createLogLevelControl } from '../../../src/observability/log-level.ts';
import { createReadiness, type ReadinessCheck } from '../../../src/observability/readiness.ts';
import { RecentDecisions } from '../../../src/proxy/recent-decisions.ts';
import { words } from '../../harness/words.ts';
import { configOf } from '../config/sample.ts';
import { loggerWithLines } from '../observability/log-lines.ts';
import { SAMPLE_CHARTS, SAMPLE_STATUS } from './sample-status.ts';

const CONFIG = configOf(
  '{ version: 1, admin_hosts: [cambist.example.com], routes: [{ name: a, match: { path: / }, upstream: http://a.svc, credential: none }] }',
);

function serverOf(t: TestContext, checks: [string, ReadinessCheck][] = []) {
  const readiness = createReadiness(loggerWithLines().logger);
  readiness.require(new Map(checks));
  const report = { github: { entries: 2, oldest_age_seconds: 3, next_expiry_seconds: 4 } };
  const { logger } = loggerWithLines();
  const parts = {
    readiness,
    tokens: { cacheReport: () => report },
    status: { report: () => SAMPLE_STATUS, charts: () => SAMPLE_CHARTS },
    logLevel: createLogLevelControl(logger),
    decisions: new RecentDecisions(),
    signals: undefined,
  };
  const app = createAdminServer(parts, createExposition(new Registry(), []), () => CONFIG);
  t.after(async () => {
    readiness.stop();
    await app.close();
  });
  return { app, readiness };
}

const waiting: ReadinessCheck = { name: 'authorization_servers.keycloak', run: () => new Promise(() => {}) };

test('is live, ready or not', async (t) => {
  const { app } = serverOf(t, [['k', waiting]]);
  const [live, ready] = [await app.inject('/livez'), await app.inject('/readyz')];
  assert.deepEqual([live.statusCode, live.json()], [200, { live: true }]);
  assert.equal(ready.statusCode, 503);
  assert.deepEqual(ready.json(), { ready: false, checks: { 'authorization_servers.keycloak': 'waiting' } });
});

test('returns 200 when ready, until it stops', async (t) => {
  const { app, readiness } = serverOf(t);
  assert.equal((await app.inject('/readyz')).statusCode, 200);
  readiness.stop();
  assert.equal((await app.inject('/readyz')).statusCode, 503);
});

test('shows the cache, the last decisions and the config to loopback only', async (t) => {
  const { app } = serverOf(t);
  const routes = { github: { entries: 2, oldest_age_seconds: 3, next_expiry_seconds: 4 } };
  for (const [url, body] of [
    ['/cache', { routes }],
    ['/decisions?after=7', { last: 0, missed: 0, decisions: [] }],
    ['/config.json', undefined],
    ['/config.yaml', undefined],
  ] as const) {
    for (const remoteAddress of ['127.0.0.1', '127.8.9.10', '::1', '::ffff:127.0.0.1']) {
      const answer = await app.inject({ url, remoteAddress });
      assert.equal(answer.statusCode, 200, remoteAddress);
      if (body !== undefined) assert.deepEqual(answer.json(), body);
    }
    for (const remoteAddress of ['10.0.0.7', '::ffff:10.0.0.7', 'fd00::1']) {
      assert.equal((await app.inject({ url, remoteAddress })).statusCode, 403, remoteAddress);
    }
  }
  assert.match((await app.inject({ url: '/', remoteAddress: '127.0.0.1' })).body, /version: 1/);
  assert.doesNotMatch((await app.inject({ url: '/', remoteAddress: '10.0.0.7' })).body, /version: 1|<select/);
});

test('serves a status page that loads nothing from elsewhere and cannot be framed', async (t) => {
  const { app } = serverOf(t);
  for (const [path, type] of [
    ['/', 'text/html; charset=utf-8'],
    ['/status.json', 'application/json; charset=utf-8'],
    ['/status.css', 'text/css; charset=utf-8'],
    ['/status.js', 'text/javascript; charset=utf-8'],
    ['/icon.svg', 'image/svg+xml'],
    ['/config.yaml', 'text/plain; charset=utf-8'],
    ['/config.json', 'application/json; charset=utf-8'],
  ] as const) {
    const { statusCode, headers, body } = await app.inject(path);
    assert.deepEqual([statusCode, headers['content-type']], [200, type], path);
    const policy = String(headers['content-security-policy']);
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/, path);
    assert.match(policy, /frame-ancestors 'none'/, path);
    assert.doesNotMatch(policy, /unsafe|https?:|\*/, path);
    assert.equal(headers['x-content-type-options'], 'nosniff', path);
    assert.equal(headers['cache-control'], 'no-store', path);
    assert.doesNotMatch(body, /(?:src|href|action)="?(?:https?:)?\/\/|@import|url\(|fetch\('(?:https?:)?\/\//, path);
  }
});

test('serves nothing but GET and HEAD on the status page', async (t) => {
  const { app } = serverOf(t);
  for (const method of ['POST', 'PUT', 'DELETE'] as const) {
    assert.equal((await app.inject({ method, url: '/' })).statusCode, 404, method);
  }
});

const GUARDED = words(`
  / /metrics /cache /decisions /config.yaml /config.json /log-level /status.json /status.css /status.js /icon.svg
  /metrics?x //cache /no-such-page
`);

for (const [what, error, hosts] of [
  [
    'a public host name',
    /public name: add it to admin_hosts/,
    words('evil.example.org EVIL.example.org:9180 evil.example.org. 127.0.0.1.example.org'),
  ],
  [
    'a Host that may name another host',
    /not a host with an optional port/,
    [...words('127.0.0.1@evil.example evil.example@127.0.0.1 [evil.example]'), 'a b', `${'a'.repeat(300)}.example`],
  ],
] as const) {
  test(`refuses ${what} on every endpoint but the health checks`, async (t) => {
    const { app } = serverOf(t);
    for (const host of hosts) {
      for (const url of GUARDED) {
        const response = await app.inject({ url, headers: { host } });
        assert.equal(response.statusCode, 403, `${url} ${host}`);
        assert.match(response.json().error, error);
      }
      for (const url of ['/livez', '/readyz']) {
        assert.equal((await app.inject({ url, headers: { host } })).statusCode, 200);
      }
    }
  });
}

/** The paths of what stays in the pod. */
const LOCAL = ['/cache', '/decisions', '/config.yaml', '/config.json'];

test('serves everything to this machine at addresses, localhost and the names of admin_hosts', async (t) => {
  const { app } = serverOf(t);
  for (const host of words(
    '127.0.0.1:9180 10.1.2.3:9180 [::1]:9180 localhost:9180 x.localhost Cambist.Example.com:9180',
  )) {
    for (const url of ['/', '/metrics', '/status.json', ...LOCAL]) {
      const { statusCode, body } = await app.inject({ url, headers: { host } });
      assert.equal(statusCode, 200, `${url} ${host}`);
      if (url === '/') assert.match(body, /version: 1/, host);
    }
  }
});

test('shows what stays in the pod to no web page of the local network, which can have an internal name', async (t) => {
  const { app } = serverOf(t);
  const ask = (url: string, host: string) => app.inject({ url, headers: { host } });
  for (const host of words(`
    evil.local:9180 evil.internal evil x.svc.cluster.local localhost.evil.local ip6-localhost localhost4
    cambist.agents.svc:9180
  `)) {
    for (const url of LOCAL) {
      const response = await ask(url, host);
      assert.equal(response.statusCode, 403, `${url} ${host}`);
      assert.match(response.json().error, /use 127\.0\.0\.1, or add the name to admin_hosts$/);
    }
    assert.doesNotMatch((await ask('/', host)).body, /version: 1/, host);
    for (const url of ['/metrics', '/status.json']) assert.equal((await ask(url, host)).statusCode, 200, host);
  }
});
