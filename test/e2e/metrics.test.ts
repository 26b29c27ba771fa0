import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import { SETUP_ROUTE, SETUP_SERVER, startFakeSetup } from '../harness/fake-setup.ts';
import { sumSamples } from '../harness/metric-samples.ts';

function seriesOf(text: string): string[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => line.slice(0, line.lastIndexOf(' ')));
}

test('exposes the metrics before the first request, and lets no caller choose a label value or create series', async (t) => {
  const setup = await startFakeSetup(t);
  const { cambist } = setup;
  const response = await fetch(`${cambist.adminUrl}/metrics`);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const initial = await response.text();
  assert.doesNotMatch(initial, /# EOF|_created/, 'the format is not OpenMetrics');
  assert.match(initial, /^cambist_requests_total\{route="tools",method="POST",code="200",outcome="forwarded"\} 0$/m);
  assert.match(initial, /^cambist_build_info\{version="\d+\.\d+\.\d+"\} 1$/m);
  assert.equal(sumSamples(initial, 'cambist_config_last_reload_successful'), 1);
  const ageSeconds = Date.now() / 1000 - sumSamples(initial, 'cambist_config_last_reload_success_timestamp_seconds');
  assert.ok(ageSeconds >= 0 && ageSeconds < 60);
  assert.ok(sumSamples(initial, 'process_resident_memory_bytes') > 0);
  for (const line of initial.split('\n')) {
    assert.match(line, /^(# (HELP|TYPE) [a-z0-9_]+ .+|[a-z0-9_]+(\{.*\})? [-+.\w]+|)$/);
  }

  const authorization = `Bearer ${await setup.subjectToken()}`;
  // CONNECT opens a tunnel, which other tests cover.
  const methods = METHODS.filter((method) => method !== 'CONNECT');
  const round = async (mark: string) => {
    for (const method of methods) {
      const headers = {
        authorization,
        'mcp-session-id': `session-${mark}`,
        'x-request-id': `id-${mark}`,
        host: `h-${mark}`,
      };
      await setup.call({ method, path: `/tools/path-${mark}?query-${mark}`, headers });
      await setup.call({ method, path: `/elsewhere-${mark}`, headers });
    }
    // Metrics of Node.js change with its handles.
    return seriesOf(await cambist.metrics())
      .filter((key) => key.startsWith('cambist_'))
      .sort();
  };
  const first = await round('canary-one');
  const second = await round('canary-two');
  assert.deepEqual(second, first);
  const text = second.join('\n');
  for (const hostile of ['canary', 'PROPFIND', 'MKCALENDAR', 'alice', 'id-', 'h-']) {
    assert.ok(!text.includes(hostile), hostile);
  }
  assert.ok(text.includes('method="other"'));
  setup.leaks.assertNoLeak({ metrics: await cambist.metrics() });
});

const ROUTE = { route: SETUP_ROUTE };
const EXCHANGE = { ...ROUTE, authorization_server: SETUP_SERVER };

const ACTOR_END_SECONDS = Math.floor(Date.now() / 1000) + 3600;
const ACTOR_TOKEN = [{ alg: 'ES256' }, { sub: 'cambist', exp: ACTOR_END_SECONDS }, 'signature']
  .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
  .join('.');

test('counts calls, cache lookups, exchanges and evictions, and shows when a credential expires', async (t) => {
  const setup = await startFakeSetup(t, {
    change: (config) => ({
      ...config,
      cache: { max_entries: 1 },
      routes: config.routes.map((route) => ({ ...route, actor_token: { file: 'actor' } })),
    }),
    files: { actor: ACTOR_TOKEN },
  });
  const { cambist, authorizationServer } = setup;
  const is = async (value: number, name: string, labels: Record<string, string> = ROUTE) =>
    assert.equal(await cambist.metric(name, labels), value, `${name} ${JSON.stringify(labels)}`);
  const headers = await setup.bearer();

  await setup.call({ headers });
  await setup.call({ headers });
  await is(2, 'cambist_requests_total', { ...ROUTE, method: 'POST', code: '200', outcome: 'forwarded' });
  await is(2, 'cambist_arrivals_total', { ...ROUTE, way_in: 'base_url' });
  await is(1, 'cambist_exchanges_total', { ...EXCHANGE, result: 'success' });
  await is(1, 'cambist_cache_requests_total', { ...ROUTE, result: 'miss' });
  await is(1, 'cambist_cache_requests_total', { ...ROUTE, result: 'hit' });

  authorizationServer.queue.push({ kind: 'response', status: 400, body: { error: 'invalid_target' } });
  const refused = await setup.bearer();
  await setup.call({ headers: refused });
  await setup.call({ headers: refused });
  await is(1, 'cambist_cache_requests_total', { ...ROUTE, result: 'negative' });
  await is(1, 'cambist_exchanges_total', { ...EXCHANGE, result: 'failure', error: 'ERR_EXCHANGE_REFUSED' });

  await setup.call({ headers: { ...headers, 'mcp-session-id': 's-1' } });
  await is(1, 'cambist_cache_evictions_total', { reason: 'capacity' });

  await is(ACTOR_END_SECONDS, 'cambist_credential_expiry_timestamp_seconds', {
    credential: `actor token of route "${SETUP_ROUTE}"`,
  });
});
