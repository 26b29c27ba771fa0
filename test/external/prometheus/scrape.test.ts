import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type FakeSetup, startFakeSetup } from '../../harness/fake-setup.ts';
import { echo } from '../../harness/fake-upstream.ts';
import { queriesOf, readDashboard } from '../../integration/deploy/dashboard.ts';
import { monitoredPort, podAddress, startPrometheus } from './prometheus.ts';
import { readRuleGroups } from './rules.ts';

/** Ten minutes of the rules. */
const HEALTHY_MS = 30_000;
/** Twice the longest `for` and range of the provoked alerts. */
const ALERT_TIMEOUT_MS = 90_000;

/** Queries without a result while all requests succeed. */
const EMPTY_IN_HEALTH = [
  'an annotation',
  ...[
    // Errors.
    ...['Firing alerts', "cambist's own error responses", 'Failing readiness checks', "Backends' own errors"],
    ...['Requests that did not reach a backend', 'Aborted responses', 'Requests as cambist itself'],
    // Their second queries show dropped connections, and credentials of `spiffe`.
    ...['Connections', "Time until cambist's credentials expire"],
    // Off without `introspection`, `audit`, `intercept`, `routes_from`, `agents`.
    ...[
      'Introspected tokens',
      'Audit records',
      'Failed TLS handshakes',
      'Invalid files of teams',
      'Requests of agents',
    ],
    // Off without `signals`.
    ...['Signals', 'Revocations in force', 'Available transmitters', 'Polls', 'Time since the last signal'],
    // Off without `inbound`.
    ...['Requests of callers', 'Errors for callers', "Time to the agent's response headers", 'Callers in flight'],
    ...['Aborted responses to callers', 'Handles'],
    // Off without `cache.shared`, `decisions`.
    ...['Available shared cache', 'Operations at the shared cache', 'Time of operations at the shared cache'],
    ...['Decisions', 'Time of decisions'],
  ].map((title) => `panel "${title}"`),
];

const ACTOR_FILE = 'actor-token';
const HOUR_SECONDS = 3600;

/** Starts cambist under load, and a Prometheus that scrapes it as in a cluster. */
async function startWatchedSetup(t: TestContext) {
  const monitored = monitoredPort();
  const address = podAddress();
  let actorToken = '';
  const setup = await startFakeSetup(t, {
    prepare: async ({ authorizationServer }) => {
      actorToken = await authorizationServer.mint({ subject: 'agent', ttlSeconds: HOUR_SECONDS });
    },
    change: (config, { directory }) => {
      const file = join(directory, ACTOR_FILE);
      writeFileSync(file, actorToken);
      return {
        ...config,
        admin: `${address}:${monitored.port}`,
        forward_proxy: { connect: ['api.example.com:443'] },
        routes: config.routes.map((route) => ({ ...route, actor_token: { file, type: 'jwt' } })),
      };
    },
  });
  t.after(await startLoad(setup));
  const prometheus = await startPrometheus(t, readRuleGroups(), monitored, address);
  return {
    setup,
    prometheus,
    /** Replaces the route's actor token by one with this lifetime. */
    renewActorToken: async (ttlSeconds: number) => {
      const draft = join(setup.cambist.directory, '.actor-token');
      await writeFile(draft, await setup.authorizationServer.mint({ subject: 'agent', ttlSeconds }));
      await rename(draft, join(setup.cambist.directory, ACTOR_FILE));
    },
  };
}

const PAUSE_MS = 100;
/** One request in this many has a new token, which costs an exchange. */
const NEWCOMER_EVERY = 4;
/** Stops a forgotten load after five minutes. */
const MAX_REQUESTS = 3_000;

/**
 * Sends ten requests a second, whatever the responses are: from a caller whose token the cache has, and from new callers.
 * @returns stops them, and waits for the requests in flight
 */
async function startLoad(setup: FakeSetup): Promise<() => Promise<void>> {
  const regular = await setup.bearer({ ttlSeconds: 3600 });
  const underWay = new Set<Promise<unknown>>();
  let sent = 0;
  const timer = setInterval(() => {
    sent += 1;
    if (sent > MAX_REQUESTS) clearInterval(timer);
    const request = send(sent % NEWCOMER_EVERY === 0).catch(() => undefined);
    underWay.add(request);
    void request.finally(() => underWay.delete(request));
  }, PAUSE_MS);

  async function send(isNewcomer: boolean): Promise<void> {
    const headers = isNewcomer ? await setup.bearer({ subject: `caller-${sent}` }) : regular;
    await setup.call({ headers, body: '{}' });
  }

  return async () => {
    clearInterval(timer);
    await Promise.all(underWay);
  };
}

type Watched = Awaited<ReturnType<typeof startWatchedSetup>>;

interface Provocation {
  readonly alert: string;
  provoke(watched: Watched): unknown;
  fix?(watched: Watched): unknown;
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
