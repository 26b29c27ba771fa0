import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { CambistError } from '../../../src/errors.ts';
import { createHistogram, observe, quantileOf } from '../../../src/observability/counters.ts';
import { createExposition } from '../../../src/observability/exposition.ts';
import { counter, gauge, histogram, sample } from '../../../src/observability/metric-families.ts';
import { sumSamples } from '../../harness/metric-samples.ts';
import { config, github, seriesOf, served } from './served-metrics.ts';

const FORWARDED = { method: 'GET', wayIn: 'base_url', status: 200, outcome: 'forwarded', error: undefined } as const;
const REFUSAL = { status: 403, outcome: 'refused', error: 'ERR_ROUTE_NOT_FOUND' } as const;
const UNMATCHED = { ...FORWARDED, ...REFUSAL, durationMs: 1 };

test('counts each event in its metric, and keeps the counts on reload', async () => {
  const metrics = served(7);
  const { proxy, tokens } = metrics;
  proxy.requestRouted(github);
  proxy.responseStarted(github, { ...FORWARDED, durationMs: 20 });
  for (let i = 0; i < 2; i += 1) proxy.streamOpened(github);
  proxy.streamClosed(github);
  proxy.upstreamRetried(github);
  proxy.requestAborted(github, 'upstream');
  tokens.cacheLookedUp('github', 'joined');
  tokens.tokenEvicted('capacity');
  const exchange = { route: 'github', authorizationServer: 'keycloak', refresh: false, durationMs: 30 };
  tokens.exchangeFinished({ ...exchange, error: undefined });
  tokens.exchangeFinished({ ...exchange, error: new CambistError('ERR_STS_UNAVAILABLE', '') });
  metrics.serve(config);
  tokens.credentialRead('actor token of route "github"', 1_900_000_000);
  const text = await metrics.write();
  const route = { route: 'github' };
  const server = { authorization_server: 'keycloak' };
  for (const [value, name, labels] of [
    [1, 'cambist_requests_in_flight', route],
    [1, 'cambist_requests_total', { ...route, method: 'GET', code: '200', outcome: 'forwarded' }],
    [0.02, 'cambist_request_duration_seconds_sum', route],
    [1, 'cambist_open_streams', route],
    [1, 'cambist_upstream_retries_total', route],
    [1, 'cambist_requests_aborted_total', { ...route, aborted_by: 'upstream' }],
    [1, 'cambist_cache_requests_total', { ...route, result: 'joined' }],
    [1, 'cambist_cache_evictions_total', { reason: 'capacity' }],
    [7, 'cambist_cache_entries', {}],
    [10_000, 'cambist_cache_max_entries', {}],
    [1, 'cambist_exchanges_total', { ...server, result: 'success', error: '' }],
    [1, 'cambist_exchanges_total', { ...server, result: 'failure', error: 'ERR_STS_UNAVAILABLE' }],
    [2, 'cambist_exchange_duration_seconds_count', server],
    [7, 'cambist_log_lines_lost_total', {}],
    [1_900_000_000, 'cambist_credential_expiry_timestamp_seconds', {}],
    [1, 'cambist_build_info', { version: '1.2.3' }],
  ] as const) {
    assert.equal(sumSamples(text, name, labels), value, name);
  }
  proxy.requestFinished(github);
  assert.equal(sumSamples(await metrics.write(), 'cambist_requests_in_flight', route), 0);
});

test('keeps the counters of a removed route, and continues them for a new route of its name', async () => {
  const metrics = served();
  const retries = async () => sumSamples(await metrics.write(), 'cambist_upstream_retries_total', { route: 'github' });
  metrics.proxy.upstreamRetried(github);
  metrics.serve({ ...config, routes: config.routes.slice(1) });
  assert.equal(await retries(), 1);
  metrics.serve(structuredClone(config));
  metrics.proxy.upstreamRetried(structuredClone(github));
  assert.equal(await retries(), 2);
});

test('shows durations of requests without a route after the first, and never counts them as in flight', async () => {
  const metrics = served();
  const before = seriesOf(await metrics.write());
  metrics.proxy.responseStarted(undefined, UNMATCHED);
  const after = seriesOf(await metrics.write());
  const namesOf = (series: string[]) =>
    new Set(series.filter((line) => line.includes('route="_unmatched"')).map((line) => line.replace(/\{.*/, '')));
  assert.deepEqual(
    [...namesOf(before)],
    ['cambist_requests_total', 'cambist_arrivals_total', 'cambist_failures_total'],
  );
  const time = ['bucket', 'sum', 'count'].map((part) => `cambist_request_duration_seconds_${part}`);
  assert.deepEqual([...namesOf(after)], [...namesOf(before), ...time]);
});

test('uses one label for all requests without a route, unknown methods and unknown status codes', async () => {
  const metrics = served();
  const answered = (status: number) => metrics.proxy.responseStarted(github, { ...FORWARDED, status, durationMs: 1 });
  for (let status = 600; status < 1000; status += 1) answered(status);
  for (const status of [299, 200, 418, 499, 511]) answered(status);
  for (const method of ['BREW', 'WHEN']) metrics.proxy.responseStarted(undefined, { ...UNMATCHED, method });
  const text = await metrics.write();
  const labels = { route: '_unmatched', method: 'other', code: '403', outcome: 'refused' };
  assert.equal(sumSamples(text, 'cambist_requests_total', labels), 2);
  const failure = { route: '_unmatched', error: 'ERR_ROUTE_NOT_FOUND' };
  assert.equal(sumSamples(text, 'cambist_failures_total', failure), 2);
  const count = (code: string) => sumSamples(text, 'cambist_requests_total', { route: 'github', code });
  assert.deepEqual(['other', '200', '418', '499', '511', '600', '299'].map(count), [401, 1, 1, 1, 1, 0, 0]);
});

test('counts tunnels by the authority of the config, from the start', async () => {
  const metrics = served();
  const authority = 'api.example.com:443';
  metrics.serve({ ...config, forwardProxy: { connect: [authority, 'other:1'] } });
  assert.match(await metrics.write(), /cambist_tunnels_total\{authority="other:1"\} 0/);
  metrics.proxy.tunnelOpened(authority);
  metrics.proxy.tunnelOpened(authority);
  metrics.proxy.tunnelClosed(authority);
  const text = await metrics.write();
  assert.equal(sumSamples(text, 'cambist_tunnels_total', { authority }), 2);
  assert.equal(sumSamples(text, 'cambist_open_tunnels', { authority }), 1);
});

test('reads the readiness checks at each scrape', async () => {
  const checks: Record<string, 'ready' | 'waiting'> = { 'authorization_servers.keycloak': 'waiting', other: 'ready' };
  const metrics = served(0, { ready: false, checks });
  const text = await metrics.write();
  assert.equal(sumSamples(text, 'cambist_ready'), 0);
  assert.equal(sumSamples(text, 'cambist_readiness_check', { check: 'authorization_servers.keycloak' }), 0);
  assert.equal(sumSamples(text, 'cambist_readiness_check', { check: 'other' }), 1);
  delete checks.other;
  assert.doesNotMatch(await metrics.write(), /check="other"/);
});

test('forgets servers and credentials that the config no longer names', async () => {
  const metrics = served();
  metrics.tokens.credentialRead('actor token of route "github"', 1_900_000_000);
  metrics.serve({ ...config, routes: config.routes.slice(1) });
  // A request from before the reload reads it.
  metrics.tokens.credentialRead('actor token of route "github"', 1_900_000_000);
  const text = await metrics.write();
  assert.doesNotMatch(text, /^cambist_(?:authorization_server_available|credential_expiry_timestamp_seconds)\{/m);
});

test('shows a failed reload and keys that wait for a restart, until a reload succeeds without them', async () => {
  const metrics = served();
  const names = ['cambist_config_last_reload_successful', 'cambist_config_keys_waiting_for_restart'];
  const values = async () => {
    const text = await metrics.write();
    return names.map((name) => sumSamples(text, name));
  };
  assert.deepEqual(await values(), [1, 0]);
  metrics.reloaded('success', 2);
  metrics.reloaded('failure');
  assert.deepEqual(await values(), [0, 2]);
  metrics.serve(config);
  metrics.reloaded('success', 0);
  assert.deepEqual(await values(), [1, 0]);
  const text = await metrics.write();
  assert.equal(sumSamples(text, 'cambist_config_reloads_total', { result: 'failure' }), 1);
  assert.equal(sumSamples(text, 'cambist_config_reloads_total', { result: 'success' }), 2);
  const loadedAt = sumSamples(text, 'cambist_config_last_reload_success_timestamp_seconds');
  assert.ok(Math.abs(loadedAt - Date.now() / 1000) < 60);
});

const BOUNDS = [0.005, 0.1, 1, 10];

const label = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom('', '"', '\\', '\n', 'a"b\\c\nd', 'github'),
);
const labels = fc.oneof(fc.constant({}), fc.record({ route: label }), fc.record({ route: label, code: label }));
const labelNames = ['route', 'code'];

/** The text of the one metric that is registered here. */
async function textOf(register: (registers: Registry[]) => void): Promise<string> {
  const registry = new Registry();
  register([registry]);
  return registry.metrics();
}

test('writes counters and gauges as prom-client does, whatever the labels and values', async () => {
  const value = fc.oneof(fc.integer({ min: 0 }), fc.double({ min: 0, max: 1e12, noNaN: true }));
  await fc.assert(
    fc.asyncProperty(labels, value, async (given, amount) => {
      const read = () => [sample(given, amount)];
      const options = { help: 'Help.', labelNames };
      assert.equal(
        `${counter('calls_total', 'Help.', read).text()}\n`,
        await textOf((registers) => new Counter({ ...options, name: 'calls_total', registers }).inc(given, amount)),
      );
      assert.equal(
        `${gauge('size', 'Help.', read).text()}\n`,
        await textOf((registers) => new Gauge({ ...options, name: 'size', registers }).set(given, amount)),
      );
    }),
  );
});

test('writes a histogram as prom-client does, whatever was observed', async () => {
  const size = fc.oneof(fc.constantFrom(...BOUNDS), fc.double({ min: 0, max: 20, noNaN: true }));
  await fc.assert(
    fc.asyncProperty(labels, fc.array(size), async (given, observed) => {
      const sizes = createHistogram(BOUNDS);
      for (const one of observed) observe(sizes, one);
      const theirs = await textOf((registers) => {
        const metric = new Histogram({ name: 'took_seconds', help: 'Help.', labelNames, buckets: BOUNDS, registers });
        metric.zero(given);
        for (const one of observed) metric.observe(given, one);
      });
      assert.equal(`${histogram('took_seconds', 'Help.', () => [[given, sizes]]).text()}\n`, theirs);
    }),
  );
});

function registryOfTwo(): Registry {
  const registry = new Registry();
  const registers = [registry];
  new Counter({ name: 'calls_total', help: 'Calls.', labelNames: ['route'], registers }).inc({ route: 'a"b' }, 3);
  new Gauge({ name: 'size', help: 'Size.', registers }).set(7);
  return registry;
}

const own = counter('own_total', 'Own.', () => [{ labels: {}, value: 1 }]);

test('writes the metrics of the registry and then its own', async () => {
  const registry = registryOfTwo();
  const text = `${await registry.metrics()}\n# HELP own_total Own.\n# TYPE own_total counter\nown_total 1\n`;
  assert.equal(await createExposition(registry, [own]).write(), text);
});

test('lets other work run after each metric', async () => {
  let turns = 0;
  let done = false;
  const turn = (): void => {
    turns += 1;
    if (!done) setImmediate(turn);
  };
  setImmediate(turn);
  await createExposition(registryOfTwo(), [own]).write();
  done = true;
  assert.ok(turns >= 3, `${turns} turns`);
});

test('estimates quantiles within the bucket that has them', () => {
  const sizes = createHistogram(BOUNDS);
  assert.equal(quantileOf(sizes, 0.5), undefined);
  for (let i = 0; i < 10; i += 1) observe(sizes, 0.05);
  assert.equal(quantileOf(sizes, 1), 0.1);
  assert.equal(quantileOf(sizes, 0.5), 0.005 + (0.1 - 0.005) / 2);
  for (let i = 0; i < 10; i += 1) observe(sizes, 5);
  assert.equal(quantileOf(sizes, 0.5), 0.1);
  assert.equal(quantileOf(sizes, 0.75), 5.5);
});

test('estimates a quantile above all bounds as the last bound', () => {
  const sizes = createHistogram(BOUNDS);
  for (const size of [0.001, 100, 200]) observe(sizes, size);
  assert.equal(quantileOf(sizes, 0.99), 10);
});
