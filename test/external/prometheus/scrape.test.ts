import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { echo } from '../../harness/fake-upstream.ts';
import { queriesOf, readDashboard } from '../../integration/deploy/dashboard.ts';
import { monitoredPort } from './pod-monitor.ts';
import { startWatchedSetup, type WatchedSetup } from './watched-setup.ts';

/** Ten minutes of the rules. */
const HEALTHY_MS = 30_000;
/** Twice the longest `for` and range of the provoked alerts. */
const ALERT_TIMEOUT_MS = 90_000;

/** Queries without a result while all requests succeed. */
const EMPTY_IN_HEALTH = [
  'panel "Firing alerts"',
  `panel "cambist's own error responses"`,
  'panel "Failing readiness checks"',
  // Off without `introspection`.
  'panel "Introspected tokens"',
  // Off without `signals`.
  'panel "Signals"',
  'panel "Revocations in force"',
  'panel "Available transmitters"',
  'panel "Polls"',
  'panel "Time since the last signal"',
  // Off without `audit`.
  'panel "Audit records"',
  // Its second query shows dropped connections.
  'panel "Connections"',
  'panel "Requests as cambist itself"',
  'panel "Requests that did not reach a backend"',
  `panel "Backends' own errors"`,
  'panel "Aborted responses"',
  // Off without `intercept`, and all that follow without `inbound`.
  'panel "Failed TLS handshakes"',
  'panel "Requests of callers"',
  'panel "Errors for callers"',
  `panel "Time to the agent's response headers"`,
  'panel "Callers in flight"',
  'panel "Aborted responses to callers"',
  'panel "Handles"',
  // Off without `cache.shared`.
  'panel "Available shared cache"',
  'panel "Operations at the shared cache"',
  'panel "Time of operations at the shared cache"',
  // Its second query is of `spiffe`.
  `panel "Time until cambist's credentials expire"`,
  // Off without `decisions`.
  'panel "Decisions"',
  'panel "Time of decisions"',
  // Off without `routes_from`.
  'panel "Invalid files of teams"',
  // Off without `agents`.
  'panel "Requests of agents"',
  'an annotation',
];

interface Provocation {
  readonly alert: string;
  provoke(watched: WatchedSetup): unknown;
  fix?(watched: WatchedSetup): unknown;
}

const PROVOCATIONS: readonly Provocation[] = [
  {
    alert: 'CambistCredentialExpiring',
    provoke: ({ renewActorToken }) => renewActorToken(240),
    fix: ({ renewActorToken }) => renewActorToken(3600),
  },
  {
    alert: 'CambistBackendRefusesTokens',
    provoke: ({ setup }) => {
      setup.upstream.handler = (_request, response) => void response.writeHead(401).end();
    },
    fix: ({ setup }) => {
      setup.upstream.handler = echo;
    },
  },
  {
    alert: 'CambistExchangeErrors',
    provoke: ({ setup }) => {
      setup.authorizationServer.behaviour = { kind: 'issue', audience: 'https://another.example.com' };
    },
    fix: ({ setup }) => {
      setup.authorizationServer.behaviour = { kind: 'issue' };
    },
  },
  // Last, because nothing fixes it.
  { alert: 'CambistDown', provoke: ({ setup }) => setup.cambist.signal('SIGKILL') },
];

test('a real Prometheus with our rules watches cambist under load', async (t) => {
  const watched = await startWatchedSetup(t);
  const { prometheus, setup } = watched;

  await t.test('scrapes the port that the PodMonitor names', async () => {
    const isUp = async () => (await prometheus.query('up == 1')).length === 1;
    await prometheus.waitUntil('the target to be up', 60_000, isUp);
    const [target, ...more] = await prometheus.targets();
    assert.deepEqual(more, []);
    const { port, path, labels } = monitoredPort();
    assert.equal(target?.scrapeUrl, `${setup.cambist.adminUrl}${path}`);
    assert.equal(new URL(setup.cambist.adminUrl).port, String(port));
    const { instance: _instance, ...targetLabels } = target?.labels ?? {};
    assert.deepEqual(targetLabels, labels);
  });

  await t.test('has every metric of cambist', async () => {
    // The metrics of sections that the config lacks have no samples.
    const samples = (await setup.cambist.metrics()).matchAll(/^(cambist_\w+)[ {]/gm);
    const names = new Set([...samples].map(([, name]) => name));
    assert.ok(names.size >= 15);
    for (const name of names) {
      const count = async () => (await prometheus.query(`{__name__="${name}"}`)).length;
      await prometheus.waitUntil(`the metric ${name}`, 60_000, async () => (await count()) > 0);
    }
    const isRising = async () =>
      (await prometheus.query('sum(rate(cambist_requests_total{outcome="forwarded"}[10s])) > 0')).length === 1;
    await prometheus.waitUntil('the load in the metrics', 60_000, isRising);
  });

  await t.test('has no firing or pending alert while all requests succeed', async () => {
    const isQuiet = async () => (await prometheus.alerts()).length === 0;
    await prometheus.waitUntil('a known target', 60_000, isQuiet);
    const endMs = performance.now() + HEALTHY_MS;
    while (performance.now() < endMs) {
      assert.deepEqual(await prometheus.alerts(), []);
      await delay(1_000);
    }
  });

  await t.test('accepts every query of the dashboard, and returns data where there is some', async () => {
    const empty = new Set<string>();
    for (const { from, expr } of queriesOf(readDashboard())) {
      const filled = expr.replaceAll('$__rate_interval', '20s').replaceAll(/\$[a-z_]+/g, '.*');
      if ((await prometheus.query(filled)).length === 0) empty.add(from);
    }
    assert.deepEqual([...empty].sort(), EMPTY_IN_HEALTH.toSorted());
  });

  for (const { alert, provoke, fix } of PROVOCATIONS) {
    await t.test(`${alert} alone fires when provoked, and resolves when fixed`, async () => {
      await provoke(watched);
      const fires = async () => (await prometheus.firing()).length > 0;
      await prometheus.waitUntil(`${alert} fires`, ALERT_TIMEOUT_MS, fires);
      assert.deepEqual(await prometheus.firing(), [alert]);
      if (fix === undefined) return;
      await fix(watched);
      const quiet = async () => (await prometheus.alerts()).length === 0;
      await prometheus.waitUntil(`${alert} resolves`, ALERT_TIMEOUT_MS, quiet);
    });
  }
});
