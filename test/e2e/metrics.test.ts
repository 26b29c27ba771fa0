import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import { test } from 'node:test';
import { SETUP_ROUTE, SETUP_SERVER, startFakeSetup } from '../harness/fake-setup.ts';
import { sumSamples } from '../harness/metric-samples.ts';

const ROUTE = { route: SETUP_ROUTE };
const EXCHANGE = { ...ROUTE, authorization_server: SETUP_SERVER };

/** The metrics that the docs promise, with labels of series that exist before the first request. */
const AT_ZERO: [name: string, labels: Record<string, string>][] = [
  ['cambist_requests_total', { ...ROUTE, method: 'POST', code: '200', outcome: 'forwarded' }],
  ['cambist_requests_total', { ...ROUTE, method: 'POST', code: '401', outcome: 'refused' }],
  ['cambist_requests_total', { ...ROUTE, method: 'POST', code: '403', outcome: 'refused' }],
  ['cambist_requests_total', { ...ROUTE, method: 'POST', code: '502', outcome: 'failed' }],
  ['cambist_requests_total', { ...ROUTE, method: 'POST', code: '503', outcome: 'failed' }],
  ['cambist_requests_total', { ...ROUTE, method: 'POST', code: '504', outcome: 'failed' }],
  ...['base_url', 'proxy', 'redirect'].map((way): [string, Record<string, string>] => [
    'cambist_arrivals_total',
    { ...ROUTE, way_in: way },
  ]),
  ['cambist_request_duration_seconds_count', ROUTE],
  ['cambist_requests_in_flight', ROUTE],
  ['cambist_open_streams', ROUTE],
  ['cambist_exchanges_total', { ...EXCHANGE, result: 'success', error: '' }],
  ...[
    'ERR_SUBJECT_TOKEN_INVALID',
    'ERR_INTERACTION_REQUIRED',
    'ERR_CONSENT_REQUIRED',
    'ERR_EXCHANGE_REFUSED',
    'ERR_CLIENT_REFUSED',
    'ERR_STS_RESPONSE_INVALID',
    'ERR_ISSUED_TOKEN_AUDIENCE',
    'ERR_STS_UNAVAILABLE',
    'ERR_CREDENTIAL_UNAVAILABLE',
  ].map((error): [string, Record<string, string>] => [
    'cambist_exchanges_total',
    { ...EXCHANGE, result: 'failure', error },
  ]),
  ['cambist_exchange_duration_seconds_count', { authorization_server: SETUP_SERVER }],
  ...['hit', 'miss', 'joined', 'negative', 'bypass'].map((result): [string, Record<string, string>] => [
    'cambist_cache_requests_total',
    { ...ROUTE, result },
  ]),
  ['cambist_cache_entries', {}],
  ...['capacity', 'expired', 'refused', 'session_ended', 'idle'].map((reason): [string, Record<string, string>] => [
    'cambist_cache_evictions_total',
    { reason },
  ]),
  ...['upstream', 'caller', 'shutdown'].map((cutBy): [string, Record<string, string>] => [
    'cambist_requests_aborted_total',
    { ...ROUTE, aborted_by: cutBy },
  ]),
  ['cambist_upstream_retries_total', { ...ROUTE, reason: 'token' }],
  ['cambist_config_reloads_total', { result: 'success' }],
  ['cambist_config_reloads_total', { result: 'failure' }],
  ['cambist_log_lines_lost_total', {}],
];

function seriesOf(text: string): Map<string, string> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), line.slice(line.lastIndexOf(' ') + 1)]));
}

test('exposes every metric at 0 before the first request, in text format 0.0.4', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const response = await fetch(`${setup.cambist.adminUrl}/metrics`);
  assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  assert.doesNotMatch(text, /# EOF|_created/, 'the format is not OpenMetrics');
  const series = [...seriesOf(text)];
  for (const [name, labels] of AT_ZERO) {
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
    const found = series.filter(([key]) => key.split('{')[0] === name && wanted.every((part) => key.includes(part)));
    assert.equal(found.length, 1, `${name} ${wanted}`);
    assert.equal(found[0]?.[1], '0', `${name} ${wanted}`);
  }
  for (const misnamed of [
    'nodejs_active_handles_total',
    'nodejs_active_requests_total',
    'nodejs_active_resources_total',
  ]) {
    assert.ok(!text.includes(misnamed), misnamed);
  }
  assert.match(text, /^cambist_build_info\{version="\d+\.\d+\.\d+"\} 1$/m);
  assert.equal(sumSamples(text, 'cambist_config_last_reload_successful'), 1);
  const ageSeconds = Date.now() / 1000 - sumSamples(text, 'cambist_config_last_reload_success_timestamp_seconds');
  assert.ok(ageSeconds >= 0 && ageSeconds < 60);
  assert.ok(sumSamples(text, 'process_resident_memory_bytes') > 0);
  for (const line of text.split('\n')) {
    assert.match(line, /^(# (HELP|TYPE) [a-z0-9_]+ .+|[a-z0-9_]+(\{.*\})? [-+.\w]+|)$/);
  }
});

test('lets no caller choose a label value or create series', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const { cambist } = setup;
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
    return [...seriesOf(await cambist.metrics()).keys()].filter((key) => key.startsWith('cambist_')).sort();
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
