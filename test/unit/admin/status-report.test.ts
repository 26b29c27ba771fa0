import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createStatus, type StatusReport } from '../../../src/admin/status-report.ts';
import type { Config } from '../../../src/config/config.ts';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import { CambistError } from '../../../src/errors.ts';
import { createCounts } from '../../../src/observability/counts.ts';
import type { StartedResponse } from '../../../src/observability/proxy-observer.ts';
import { createReadiness } from '../../../src/observability/readiness.ts';
import { createRecentTraffic } from '../../../src/observability/recent-traffic.ts';
import { configOf, routeTo } from '../../harness/app.ts';
import { words } from '../../harness/words.ts';
import { loggerWithLines } from '../observability/log-lines.ts';

const authorization_servers = {
  keycloak: { token_endpoint: 'https://idp.example.com/token', client_id: 'c', client_auth: { method: 'none' } },
};
const config = configOf({
  authorization_servers,
  routes: [
    routeTo('github', 'https://github-mcp.example.com/mcp'),
    routeTo('docs', 'http://docs-mcp/mcp', { credential: 'none' }),
  ],
});
const [github = assert.fail(), docs = assert.fail()] = config.routes;

function setUp(t: TestContext) {
  const clock = { nowMs: Date.parse('2026-11-24T12:00:00Z') };
  const nowMs = () => clock.nowMs;
  const readiness = createReadiness(loggerWithLines().logger);
  t.after(() => readiness.stop());
  const counts = createCounts(nowMs);
  const traffic = createRecentTraffic(counts, nowMs);
  const agentLoad = () => ({ in_flight: 2, connections: 3 });
  const parts = { counts, traffic, readiness, nowMs, agentLoad };
  const source = createStatus({ version: '1.2.3', cacheEntries: () => 7, ...parts });
  /** As `/status.json` shows it. */
  const report = (): StatusReport => JSON.parse(JSON.stringify(source.report()));
  const serve = (served: Config, waiting: readonly string[] = []): void => {
    counts.serve(served);
    source.serve(served, waiting);
  };
  serve(config);
  /** Lets time pass, with its samples. */
  const pass = (seconds: number) => {
    for (let i = 0; i < seconds; i += 15) {
      clock.nowMs += 15_000;
      traffic.sample();
    }
  };
  return { clock, readiness, counts, report, serve, pass };
}

function response(error?: ErrorCode): StartedResponse {
  const sent = { method: 'POST', wayIn: 'base_url', durationMs: 1, error } as const;
  return error === undefined
    ? { ...sent, status: 200, outcome: 'forwarded' }
    : { ...sent, status: 503, outcome: 'failed' };
}

const REFUSAL = { status: 401, outcome: 'refused', error: 'ERR_SUBJECT_TOKEN_MISSING' } as const;
const REFUSED: StartedResponse = { ...response(), ...REFUSAL };

test('reports requests, responses and cache hits, by route and in total', (t) => {
  const { counts, report } = setUp(t);
  counts.proxy.requestRouted(github);
  counts.proxy.responseStarted(github, response());
  counts.proxy.responseStarted(docs, { ...response(), status: 500 });
  counts.proxy.responseStarted(undefined, REFUSED);
  counts.proxy.streamOpened(docs);
  for (const result of ['hit', 'shared', 'miss', 'joined', 'negative'] as const) {
    counts.tokens.cacheLookedUp('github', result);
  }
  counts.tokens.cacheLookedUp('docs', 'bypass');
  const { routes, totals, cache } = report();
  const keys = words('name credential authorization_servers requests in_flight backend_errors open_streams');
  assert.deepEqual(
    routes.map((route) => keys.map((key) => route[key as keyof typeof route])),
    [
      ['github', 'exchange', ['keycloak'], 1, 1, 0, 0],
      ['docs', 'none', [], 1, 0, 1, 1],
    ],
  );
  assert.deepEqual(
    [totals.requests, totals.refused, totals.failed, totals.needed_token, totals.served_from_cache],
    [3, 1, 0, 5, 3],
  );
  assert.deepEqual(cache, { entries: 7, max_entries: 10_000 });
  counts.proxy.requestFinished(github);
  counts.proxy.streamClosed(docs);
  assert.deepEqual([report().totals.in_flight, report().totals.open_streams], [0, 0]);
});

test('reports the requests of each known agent, over all routes', (t) => {
  const { counts, report, serve } = setUp(t);
  assert.equal(report().agents, undefined);
  const agents = {
    token: { header: 'x-agent-token', issuer: 'https://cluster.example.com', audience: 'cambist' },
    known: { billing: { subject: 'b' }, support: { subject: 's' } },
  };
  const routes = [routeTo('docs', 'http://docs-mcp', { credential: 'none' })];
  serve({ ...config, agents: configOf({ agents, routes }).agents });
  const ofBilling = { agent: 'billing' };
  counts.proxy.responseStarted(github, { ...response(), ...ofBilling });
  counts.proxy.responseStarted(docs, { ...REFUSED, ...ofBilling });
  counts.proxy.responseStarted(docs, { ...REFUSED, ...ofBilling, status: 403 });
  counts.proxy.responseStarted(undefined, { ...REFUSED, agent: 'removed by a reload' });
  const load = { in_flight: 2, connections: 3 };
  assert.deepEqual(report().agents, [
    { name: 'billing', requests: 3, unauthorized: 1, forbidden: 1, ...load },
    { name: 'support', requests: 0, unauthorized: 0, forbidden: 0, ...load },
  ]);
});

test('counts errors of backends, whatever the status, and refusals of callers, and neither as own errors', (t) => {
  const { counts, report } = setUp(t);
  for (const code of [500, 520, 777]) counts.proxy.responseStarted(github, { ...response(), status: code });
  counts.proxy.responseStarted(github, response('ERR_UPSTREAM_TLS'));
  for (let i = 0; i < 3; i += 1) counts.proxy.responseStarted(github, REFUSED);
  counts.proxy.responseStarted(github, response('ERR_STS_UNAVAILABLE'));
  const { totals, recent, failures } = report();
  assert.deepEqual([totals.requests, totals.backend_errors, totals.refused, totals.failed], [8, 4, 3, 1]);
  assert.deepEqual([recent.responses.refused, recent.responses.failed], [3, 1]);
  assert.deepEqual(
    failures.slice(0, 2).map(({ error, status, title }) => `${error} ${status}: ${title}`),
    [
      'ERR_STS_UNAVAILABLE 503: Authorization server unavailable',
      'ERR_SUBJECT_TOKEN_MISSING 401: Subject token missing',
    ],
  );
});

test('reports an authorization server as available, down or not found', async (t) => {
  const { counts, readiness, report } = setUp(t);
  const state = () => report().authorization_servers[0]?.state;
  assert.equal(state(), 'available');
  const run = () => Promise.reject(new CambistError('ERR_STS_UNAVAILABLE', 'away'));
  readiness.require(new Map([['k', { name: 'authorization_servers.keycloak', run }]]));
  await new Promise(setImmediate);
  assert.equal(state(), 'not found');
  const [missing] = report().missing;
  assert.deepEqual([missing?.check, missing?.status], ['authorization_servers.keycloak', 'ERR_STS_UNAVAILABLE']);
  assert.match(missing?.fix ?? '', /^Check that the authorization server runs/);
  counts.tokens.availabilityChanged('keycloak', false);
  assert.equal(state(), 'down');
});

test('reports exchanges by authorization server, with their mean duration', (t) => {
  const { counts, report } = setUp(t);
  assert.ok(!('mean_ms' in (report().authorization_servers[0] ?? {})));
  const outcome = { route: 'github', authorizationServer: 'keycloak', refresh: false, error: undefined };
  counts.tokens.exchangeFinished({ ...outcome, durationMs: 10 });
  const error = new CambistError('ERR_CLIENT_REFUSED', 'no');
  counts.tokens.exchangeFinished({ ...outcome, error, durationMs: 15.06 });
  const [server] = report().authorization_servers;
  assert.deepEqual([server?.exchanges, server?.failures, server?.mean_ms], [2, 1, 12.5]);
});

test('reports at most fifty kinds of failure, the most recent first', (t) => {
  const { clock, counts, report } = setUp(t);
  for (let i = 0; i < 60; i += 1) counts.recentFailures.note(`route-${i}`, 'ERR_UPSTREAM_TLS');
  counts.proxy.responseStarted(github, response('ERR_UPSTREAM_TLS'));
  clock.nowMs += 1000;
  counts.proxy.responseStarted(undefined, response('ERR_ROUTE_NOT_FOUND'));
  clock.nowMs += 1000;
  counts.proxy.responseStarted(github, response('ERR_UPSTREAM_TLS'));
  const { failures } = report();
  assert.equal(failures.length, 50);
  const [latest, earlier] = failures.map((each) => [each.route, each.error, each.count, each.last_at]);
  assert.deepEqual(latest, ['github', 'ERR_UPSTREAM_TLS', 2, '2026-11-24T12:00:02.000Z']);
  assert.deepEqual(earlier, [undefined, 'ERR_ROUTE_NOT_FOUND', 1, '2026-11-24T12:00:01.000Z']);
});

test('reports the reloads, and a config version that changes with the config', (t) => {
  const { clock, counts, report, serve } = setUp(t);
  const before = report().config;
  assert.deepEqual(before, { version: before.version, loaded_at: '2026-11-24T12:00:00.000Z', waits_for_restart: [] });
  clock.nowMs += 60_000;
  counts.reloaded('failure');
  const at = '2026-11-24T12:01:00.000Z';
  assert.deepEqual(report().config, { ...before, last_reload: { at, result: 'failure' } });
  serve({ ...config, log: { level: 'debug', sample: 1 } }, ['admin']);
  counts.reloaded('success');
  const after = report().config;
  assert.notEqual(after.version, before.version);
  assert.deepEqual(after, {
    version: after.version,
    loaded_at: at,
    waits_for_restart: ['admin'],
    last_reload: { at, result: 'success' },
  });
});

test('reports credentials by expiry, and forgets those that the config no longer names', (t) => {
  const { counts, report, serve } = setUp(t);
  const route = (name: string) => routeTo(name, 'https://mcp.example.com', { actor_token: { file: '/actor' } });
  serve(configOf({ authorization_servers, routes: ['later', 'sooner', 'never'].map(route) }));
  counts.tokens.credentialRead('actor token of route "later"', 1_900_000_000);
  counts.tokens.credentialRead('actor token of route "sooner"', 1_800_000_000);
  counts.tokens.credentialRead('actor token of route "never"', 1e300);
  const names = report().credentials.map(({ name }) => name);
  assert.deepEqual(names, ['actor token of route "sooner"', 'actor token of route "later"']);
  serve(config);
  assert.deepEqual(report().credentials, []);
});

test('reports where the requests of a route go, without keys in the URL', (t) => {
  const { report, serve } = setUp(t);
  const key = 'OTE1YzE5MjgtNTI3MC00YmQ4';
  const conditions = { methods: ['POST'], mcp_method: 'tools/call', mcp_name: ['w_*'] };
  const written = [
    routeTo('a', `https://mcp.example.com/${key}/mcp`, { match: { host: 'a.svc', path: '/a' } }),
    routeTo('b', 'http://b/mcp', { match: { path: '/b', ...conditions }, audience: ['b', 'c'] }),
    routeTo('c', 'http://c', { audience: [], resource: [], expect_audience: 'c' }),
    routeTo('d', 'http://d', { credential: 'passthrough' }),
  ];
  serve(configOf({ authorization_servers, routes: written }));
  const { routes } = report();
  assert.deepEqual(
    routes.map(({ match, upstream, audience }) => [match, upstream, audience]),
    [
      [{ host: 'a.svc', path: '/a' }, 'https://mcp.example.com/[hidden]/mcp', ['https://mcp.example.com/[hidden]/mcp']],
      [{ path: '/b', methods: ['POST'], mcp_method: ['tools/call'], mcp_name: ['w_*'] }, 'http://b/mcp', ['b', 'c']],
      [{ path: '/c' }, 'http://c', ['c']],
      [{ path: '/d' }, 'http://d', []],
    ],
  );
  assert.ok(!JSON.stringify(report()).includes(key));
});

test('reports the state of a route by its latest requests', (t) => {
  const { counts, report, pass } = setUp(t);
  const respond = (times: number, kind: Partial<StartedResponse>) => {
    for (let i = 0; i < times; i += 1) counts.proxy.responseStarted(github, { ...response(), ...kind });
  };
  const state = () => report().routes[0]?.state;
  assert.equal(state(), 'idle');
  respond(3, { status: 404 });
  assert.deepEqual([state(), report().routes[0]?.status], ['only_4xx', 404]);
  respond(1, { status: 400 });
  assert.deepEqual([state(), report().routes[0]?.status], ['only_4xx', undefined]);
  respond(1, {});
  assert.equal(state(), 'ok');
  respond(2, { status: 500 });
  assert.equal(state(), 'errors');
  respond(9, response('ERR_STS_UNAVAILABLE'));
  assert.equal(state(), 'failing');
  pass(600);
  assert.equal(state(), 'failing');
  respond(1, { status: 499, outcome: 'cancelled' });
  assert.equal(state(), 'failing');
  respond(5, REFUSED);
  assert.equal(state(), 'refused');
  respond(1, {});
  assert.equal(state(), 'ok');
  pass(930);
  assert.equal(state(), 'idle');
});

test('reports percentiles of the last quarter of an hour', (t) => {
  const { counts, report, pass } = setUp(t);
  assert.ok(!('p50_ms' in (report().routes[0]?.recent ?? {})));
  for (let i = 0; i < 100; i += 1) counts.proxy.responseStarted(github, { ...response(), durationMs: i < 90 ? 4 : 90 });
  const { requests, p50_ms, p95_ms, p99_ms } = report().routes[0]?.recent ?? assert.fail();
  assert.deepEqual([requests, p50_ms, p95_ms, p99_ms], [100, 3.9, 75, 95]);
  pass(930);
  assert.equal(report().routes[0]?.recent.requests, 0);
  assert.equal(report().totals.requests, 100);
});
