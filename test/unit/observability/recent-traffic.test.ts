import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countOf, quantileOf } from '../../../src/observability/counters.ts';
import { createCounts } from '../../../src/observability/counts.ts';
import type { StartedResponse } from '../../../src/observability/proxy-observer.ts';
import { createRecentTraffic, SAMPLE_MS } from '../../../src/observability/recent-traffic.ts';
import { isTracingOn, startTracing } from '../../../src/observability/start-tracing.ts';
import { configOf } from '../../harness/app.ts';
import { loggerWithLines } from './log-lines.ts';

const config = configOf({
  routes: [{ name: 'github', match: { path: '/github' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
});
const route = config.routes[0] ?? assert.fail();

const OK: StartedResponse = {
  method: 'POST',
  wayIn: 'base_url',
  status: 200,
  outcome: 'forwarded',
  error: undefined,
  durationMs: 4,
};

function setUp() {
  const clock = { nowMs: 1_000_000 };
  const counts = createCounts(() => clock.nowMs);
  const recent = createRecentTraffic(counts, () => clock.nowMs);
  recent.serve(['github', '_unmatched']);
  return {
    recent,
    counts,
    respond(times: number, response: Partial<StartedResponse> = {}) {
      for (let i = 0; i < times; i += 1) counts.proxy.responseStarted(route, { ...OK, ...response });
    },
    pass(intervals: number) {
      clock.nowMs += intervals * SAMPLE_MS;
      recent.sample();
    },
  };
}

const passedIn = (intervals: readonly Readonly<Record<'2xx', number>>[]) => intervals.map((each) => each['2xx']);

test('shows the current interval before the first sample, and adds up several routes', () => {
  const { recent, counts, respond } = setUp();
  respond(3);
  for (const status of [404, 777, 299, 101]) respond(1, { status });
  respond(1, { status: 503, outcome: 'failed', error: 'ERR_STS_UNAVAILABLE' });
  respond(1, { status: 502, outcome: 'failed', error: 'ERR_UPSTREAM_UNREACHABLE' });
  respond(1, { status: 401, outcome: 'refused', error: 'ERR_SUBJECT_TOKEN_MISSING' });
  respond(1, { status: 499, outcome: 'cancelled' });
  const { responses, durations } = recent.of(['github']);
  const own = { refused: 1, failed: 1, unreached: 1, cancelled: 1 };
  const expected = { '2xx': 4, '3xx': 0, '4xx': 1, '5xx': 1, other: 1, ...own };
  assert.deepEqual(responses, expected);
  assert.deepEqual(recent.intervals(['github']).at(-1), expected);
  assert.equal(countOf(durations), 11);
  counts.proxy.responseStarted(undefined, OK);
  const all = ['github', '_unmatched'];
  for (const each of [recent.of(all).responses, recent.intervals(all).at(-1)]) assert.equal(each?.['2xx'], 5);
});

test('keeps each interval in its place, the oldest first', () => {
  const { recent, respond, pass } = setUp();
  for (const times of [1, 2, 3]) {
    respond(times);
    pass(1);
  }
  respond(4);
  const intervals = recent.intervals(['github']);
  assert.equal(intervals.length, 61);
  assert.deepEqual(passedIn(intervals.slice(-5)), [0, 1, 2, 3, 4]);
});

test('forgets traffic after a quarter of an hour', () => {
  const { recent, respond, pass } = setUp();
  respond(5, { durationMs: 40_000 });
  pass(1);
  for (let i = 0; i < 59; i += 1) pass(1);
  assert.equal(recent.of(['github']).responses['2xx'], 5);
  pass(1);
  const { responses, durations } = recent.of(['github']);
  assert.equal(responses['2xx'], 0);
  assert.equal(quantileOf(durations, 0.5), undefined);
});

test('leaves gaps for samples that were skipped', () => {
  const { recent, respond, pass } = setUp();
  respond(1);
  pass(1);
  respond(2);
  pass(3);
  respond(3);
  assert.deepEqual(passedIn(recent.intervals(['github']).slice(-5)), [1, 2, 0, 0, 3]);
  pass(10_000);
  assert.equal(recent.of(['github']).responses['2xx'], 3);
});

test('survives a clock that was set back', () => {
  const { recent, respond, pass } = setUp();
  respond(1);
  pass(-1000);
  respond(2);
  pass(1);
  assert.equal(recent.of(['github']).responses['2xx'], 3);
});

test('forgets a route that the config no longer has, and its old traffic when it returns', () => {
  const { recent, respond, pass } = setUp();
  respond(5);
  pass(1);
  recent.serve([]);
  respond(2);
  recent.serve(['github']);
  assert.equal(recent.of(['github']).responses['2xx'], 0);
  respond(1);
  pass(1);
  assert.equal(recent.of(['github']).responses['2xx'], 1);
});

test('estimates a quantile for each interval', () => {
  const { recent, respond, pass } = setUp();
  respond(10, { durationMs: 0.5 });
  pass(2);
  respond(10, { durationMs: 90_000 });
  assert.deepEqual(recent.quantiles(['github'], 0.5).slice(-4), [undefined, 0.0005, undefined, 60]);
});

test('forgets the oldest removed routes of teams, which may invent any number of names', () => {
  const counts = createCounts(Date.now);
  const ofTeam = (first: number) =>
    Array.from({ length: 600 }, (_, n) => ({ ...route, name: `billing/r${first + n}`, team: 'billing' }));
  counts.serve({ ...config, routes: [route, ...ofTeam(0)] });
  counts.route('billing/r1').inFlight = 1;
  counts.serve({ ...config, routes: [...ofTeam(600)] });
  const names = () => counts.routes().flatMap((each) => (each.route.startsWith('_') ? [] : [each.route]));
  assert.equal(names().length, 1 + 1200, 'a region that is closed for a while keeps its counts');
  counts.serve({ ...config, routes: [] });
  assert.equal(names().length, 1000 + 2);
  assert.ok([route.name, 'billing/r1', 'billing/r1199'].every((name) => names().includes(name)));
  assert.ok(!names().includes('billing/r0'));
  counts.serve({ ...config, routes: [] });
  assert.equal(names().length, 1000 + 2);
});

const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' };

test('turns tracing on by the standard variables', () => {
  for (const env of [
    endpoint,
    { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'http://127.0.0.1:4318/v1/traces' },
    { OTEL_TRACES_EXPORTER: 'otlp' },
    { OTEL_TRACES_EXPORTER: 'console, otlp' },
    { ...endpoint, OTEL_SDK_DISABLED: 'false' },
  ]) {
    assert.equal(isTracingOn(env), true, JSON.stringify(env));
  }
  for (const env of [
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
    { OTEL_SERVICE_NAME: 'cambist' },
    { ...endpoint, OTEL_TRACES_EXPORTER: 'none' },
    { ...endpoint, OTEL_TRACES_EXPORTER: 'zipkin' },
    { ...endpoint, OTEL_SDK_DISABLED: 'TRUE' },
  ]) {
    assert.equal(isTracingOn(env), false, JSON.stringify(env));
  }
});

test('warns of an unsupported protocol and names the one in use', async () => {
  for (const [protocol, count] of [
    ['grpc', 1],
    ['http/protobuf', 0],
  ] as const) {
    const { logger, lines } = loggerWithLines();
    const tracing = await startTracing({ ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: protocol }, '1.2.3', logger);
    await tracing?.shutdown();
    assert.equal(lines.length, count, protocol);
  }
});
