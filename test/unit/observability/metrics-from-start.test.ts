import assert from 'node:assert/strict';
import { test } from 'node:test';
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
  const lines = (await served().write()).split('\n');
  const ofRoute = words(`
    cambist_requests_in_flight{route="R"} cambist_open_streams{route="R"}
    cambist_arrivals_total{route="R",way_in="base_url"} cambist_arrivals_total{route="R",way_in="proxy"}
    cambist_arrivals_total{route="R",way_in="redirect"} cambist_upstream_retries_total{route="R",reason="token"}
    cambist_requests_aborted_total{route="R",aborted_by="upstream"} cambist_request_duration_seconds_count{route="R"}
    cambist_requests_aborted_total{route="R",aborted_by="caller"} cambist_cache_requests_total{route="R",result="hit"}
    cambist_requests_aborted_total{route="R",aborted_by="stall"} cambist_cache_requests_total{route="R",result="miss"}
    cambist_requests_aborted_total{route="R",aborted_by="shutdown"}
    cambist_requests_total{route="R",method="POST",code="200",outcome="forwarded"}
    cambist_requests_total{route="R",method="POST",code="503",outcome="failed"}
    cambist_failures_total{route="R",error="ERR_UPSTREAM_UNREACHABLE"}
    cambist_cache_requests_total{route="R",result="shared"} cambist_cache_requests_total{route="R",result="joined"}
    cambist_cache_requests_total{route="R",result="negative"} cambist_cache_requests_total{route="R",result="bypass"}
  `);
  const others = words(`
    cambist_failures_total{route="_unmatched",error="ERR_ROUTE_NOT_FOUND"} cambist_cache_entries
    cambist_exchange_duration_seconds_count{authorization_server="keycloak"}
    cambist_cache_evictions_total{reason="capacity"} cambist_cache_evictions_total{reason="expired"}
    cambist_cache_evictions_total{reason="refused"} cambist_cache_evictions_total{reason="session_ended"}
    cambist_cache_evictions_total{reason="idle"} cambist_config_reloads_total{result="success"}
    cambist_config_reloads_total{result="failure"}
  `);
  const ofRoutes = ['github', 'docs'].flatMap((route) => ofRoute.map((series) => series.replace('"R"', `"${route}"`)));
  for (const series of [...ofRoutes, ...others]) assert.ok(lines.includes(`${series} 0`), series);
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
