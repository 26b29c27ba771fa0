import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sumSamples } from '../../harness/metric-samples.ts';
import { words } from '../../harness/words.ts';
import { seriesOf, served, signalling } from './served-metrics.ts';

test('has a help text for each metric, and counters alone end with _total', async () => {
  const text = await served().write();
  const metrics = [...text.matchAll(/^# HELP (\S+) \S.*\n# TYPE (\S+) (\w+)$/gm)];
  assert.equal(metrics.length, text.match(/^# TYPE /gm)?.length);
  for (const [, helped, name = '', type] of metrics) {
    assert.equal(helped, name);
    assert.equal(type === 'counter', name.endsWith('_total'), name);
  }
});

test('has the series of token requests for transmitters, as no route, and keeps them over a reload', async () => {
  assert.ok(!(await served().write()).includes('"_signals"'));
  const first = served(0, { ready: true, checks: {} }, signalling);
  for (const config of [signalling, { ...signalling, signals: undefined }]) {
    first.serve(config);
    const series = seriesOf(await first.write());
    assert.ok(series.includes('cambist_authorization_server_available{authorization_server="of-signals"}'));
    const names = new Set(series.filter((line) => line.includes('"_signals"')).map((line) => line.replace(/\{.*/, '')));
    assert.deepEqual([...names], ['cambist_exchanges_total']);
    const success = 'route="_signals",authorization_server="of-signals",result="success",error=""';
    assert.ok(series.includes(`cambist_exchanges_total{${success}}`));
  }
});

test('has the series of every route, at 0', async () => {
  const text = await served().write();
  const series = seriesOf(text);
  for (const route of ['github', 'docs']) {
    for (const wanted of [
      `cambist_requests_in_flight{route="${route}"}`,
      ...['base_url', 'proxy', 'redirect'].map((way) => `cambist_arrivals_total{route="${route}",way_in="${way}"}`),
      `cambist_open_streams{route="${route}"}`,
      ...['upstream', 'caller', 'stall', 'shutdown'].map(
        (cutter) => `cambist_requests_aborted_total{route="${route}",aborted_by="${cutter}"}`,
      ),
      `cambist_upstream_retries_total{route="${route}",reason="token"}`,
      `cambist_request_duration_seconds_count{route="${route}"}`,
      `cambist_requests_total{route="${route}",method="POST",code="200",outcome="forwarded"}`,
      `cambist_requests_total{route="${route}",method="POST",code="503",outcome="failed"}`,
      `cambist_failures_total{route="${route}",error="ERR_UPSTREAM_UNREACHABLE"}`,
      'cambist_failures_total{route="_unmatched",error="ERR_ROUTE_NOT_FOUND"}',
      ...['hit', 'shared', 'miss', 'joined', 'negative', 'bypass'].map(
        (result) => `cambist_cache_requests_total{route="${route}",result="${result}"}`,
      ),
    ]) {
      assert.ok(series.includes(wanted), wanted);
    }
  }
  for (const wanted of [
    'cambist_exchange_duration_seconds_count{authorization_server="keycloak"}',
    'cambist_cache_entries',
    ...['capacity', 'expired', 'refused', 'session_ended', 'idle'].map(
      (reason) => `cambist_cache_evictions_total{reason="${reason}"}`,
    ),
    ...['success', 'failure'].map((result) => `cambist_config_reloads_total{result="${result}"}`),
  ]) {
    assert.ok(series.includes(wanted), wanted);
  }
  for (const name of words(`
    cambist_requests_total cambist_arrivals_total cambist_failures_total cambist_cache_requests_total
    cambist_cache_evictions_total cambist_exchanges_total cambist_exchange_duration_seconds_count
    cambist_config_reloads_total
  `)) {
    assert.equal(sumSamples(text, name), 0, name);
  }
});

test('has a series for each result of an exchange on routes that exchange, and none on others', async () => {
  const series = seriesOf(await served().write());
  const of = (route: string) => series.filter((line) => line.startsWith(`cambist_exchanges_total{route="${route}"`));
  const start = 'cambist_exchanges_total{route="github",authorization_server="keycloak"';
  assert.ok(of('github').includes(`${start},result="success",error=""}`));
  for (const error of words(`
    ERR_SUBJECT_TOKEN_INVALID ERR_INTERACTION_REQUIRED ERR_CONSENT_REQUIRED ERR_EXCHANGE_REFUSED ERR_CLIENT_REFUSED
    ERR_STS_RESPONSE_INVALID ERR_ISSUED_TOKEN_AUDIENCE ERR_STS_METADATA_INVALID ERR_STS_UNAVAILABLE
    ERR_CREDENTIAL_UNAVAILABLE
  `)) {
    assert.ok(of('github').includes(`${start},result="failure",error="${error}"}`), error);
  }
  assert.equal(of('github').length, 11);
  assert.deepEqual(of('docs'), []);
});
