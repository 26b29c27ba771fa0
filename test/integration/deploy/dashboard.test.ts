import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SignJWT } from 'jose';
import { ERROR_CODES } from '../../../src/error-catalogue.ts';
import { createWebhookMetrics } from '../../../src/kubernetes/webhook-metrics.ts';
import { readRuleGroups } from '../../external/prometheus/rules.ts';
import { readConfigOf, startTestApp } from '../../harness/app.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { startGateway } from '../../harness/gateway.ts';
import { call } from '../../harness/http-call.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { listPagesIn } from '../../harness/pages.ts';
import { startSpiffeAgent, svidParts, x509SvidResponse } from '../../harness/spiffe-agent.ts';
import {
  groupingLabelsOf,
  type LabelValues,
  liveMetrics,
  type Panel,
  queriesOf,
  readDashboard,
  selectorsOf,
  typeName,
} from './dashboard.ts';

const dashboard = readDashboard();
const { panels } = dashboard;

/** Width of Grafana's grid. */
const GRID_COLUMNS = 24;

const withQueries = panels.filter(({ type }) => type !== 'row');

test('the rows check cambist, the authorization server, a backend, the callers, the store, revocations and decisions, in that order', () => {
  const rows = panels.filter(({ type }) => type === 'row');
  const titles = [
    'Is cambist the cause?',
    'Is the authorization server the cause?',
    'Is a backend the cause?',
    'Do callers reach the agent?',
    'Does the shared cache work?',
    'Do revocations arrive?',
    'Do data planes get their decisions?',
  ];
  assert.deepEqual(
    rows.map(({ title }) => title),
    titles,
  );
  const heights = rows.map(({ gridPos }) => gridPos.y);
  assert.deepEqual(
    heights,
    [...heights].sort((a, b) => a - b),
  );
});

test('the panels above the rows fit on one screen and name the cause', () => {
  const firstRow = panels.findIndex(({ type }) => type === 'row');
  const verdict = panels.slice(0, firstRow);
  assert.ok(verdict.every(({ gridPos }) => gridPos.y + gridPos.h <= 10));
  for (const party of ['cambist: ', 'Authorization server: ', 'Backend: ', 'Firing alerts']) {
    assert.ok(
      verdict.some(({ title }) => title.startsWith(party)),
      party,
    );
  }
});

test('every panel has a description, a unit, a query and the data source of the variable', () => {
  const datasource = { type: 'prometheus', uid: ['$', '{datasource}'].join('') };
  for (const panel of withQueries) {
    assert.match(panel.description ?? '', /\.$/, panel.title);
    assert.ok(panel.fieldConfig?.defaults.unit, panel.title);
    assert.deepEqual(panel.datasource, datasource, panel.title);
    assert.ok((panel.targets ?? []).length > 0, panel.title);
    for (const target of panel.targets ?? []) assert.deepEqual(target.datasource, datasource, panel.title);
  }
});

test('uses variables for the data source, namespace, pod, route and authorization server', () => {
  const names = dashboard.templating.list.map(({ name }) => name);
  assert.deepEqual(names, ['datasource', 'namespace', 'pod', 'route', 'authorization_server']);
  assert.equal(dashboard.templating.list[0]?.type, 'datasource');
  const text = queriesOf(dashboard)
    .map(({ expr }) => expr)
    .join('\n');
  for (const name of names.slice(1)) assert.ok(text.includes(`=~"$${name}`), name);
  const known = [...names, '__rate_interval'];
  for (const [, name = ''] of text.matchAll(/\$(\w+)/g)) assert.ok(known.includes(name), name);
});

test('panel ids are unique, and no panel overlaps another or leaves the grid', () => {
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const [index, panel] of panels.entries()) {
    const { x, w } = panel.gridPos;
    assert.ok(x >= 0 && x + w <= GRID_COLUMNS, panel.title);
    for (const other of panels.slice(index + 1)) assert.ok(!overlap(panel, other), `${panel.title}, ${other.title}`);
  }
});

test('keeps its uid across imports, and needs no migration by Grafana', () => {
  assert.equal(dashboard.uid, 'cambist');
  assert.ok(dashboard.schemaVersion >= 42);
});

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

/** Metrics of cambist that the dashboard does not show. */
const NOT_ON_THE_DASHBOARD: readonly string[] = [];

/** The labels of a target in a cluster, and of recorded alerts. */
const TARGET_LABELS = ['namespace', 'pod', 'container', 'endpoint', 'job', 'instance'];
const OF_PROMETHEUS: Readonly<Record<string, readonly string[]>> = {
  up: TARGET_LABELS,
  ALERTS: [...TARGET_LABELS, 'alertname', 'alertstate', 'severity'],
};

const queries = [
  ...queriesOf(dashboard),
  ...readRuleGroups().flatMap(({ rules }) => rules.map(({ alert, expr }) => ({ from: alert, expr }))),
];

/** The metrics of a cambist that has exchanged a token for a known agent, with an actor token that expires. */
async function scrape(t: TestContext): Promise<ReadonlyMap<string, LabelValues>> {
  const folder = temporaryFolder(t);
  const file = join(folder, 'actor');
  const token = new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h');
  writeFileSync(file, await token.sign(new Uint8Array(32)));
  const inbound = {
    listen: '127.0.0.1:0',
    agent: 'http://127.0.0.1:9',
    verify: { issuer: 'https://idp.example.com', audience: 'agent' },
    allow_raw_tokens: true,
  };
  const cluster = await startFakeAuthorizationServer(t);
  const agentToken = { header: 'x-agent-token', issuer: cluster.issuer, audience: 'cambist' };
  const gateway = await startGateway(t, {
    route: { actor_token: { file, type: 'jwt' }, on_missing_subject: 'client_credentials' },
    top: {
      inbound,
      decisions: { http: { listen: `unix:${join(folder, 'http')}` }, grpc: { listen: `unix:${join(folder, 'grpc')}` } },
      agents: { token: agentToken, known: { batch: { subject: 'batch' } } },
      forward_proxy: { connect: ['api.example.com:443'] },
      audit: { to: { file: join(folder, 'audit.jsonl') } },
      intercept: { trust_dir: folder },
      // A store that is down has all metrics.
      cache: { shared: { url: 'redis://127.0.0.1:9', key: { file } } },
      routes_from: [
        { name: 'billing', folder: join(folder, 'missing'), paths: ['/billing'], upstreams: ['http://127.0.0.1:9'] },
      ],
    },
  });
  gateway.app.reload(await readConfigOf(gateway.config));
  const headers = {
    authorization: gateway.authorization,
    'x-agent-token': await cluster.mint({ subject: 'batch', audience: 'cambist' }),
  };
  const { status } = await call(`${gateway.app.url}/github`, { method: 'POST', headers });
  assert.equal(status, 200);
  await call(`${gateway.app.url}/elsewhere`, { headers });
  const revoking = await startRevoking(t, file);
  const live = new Map(liveMetrics(await gateway.app.metrics()));
  for (const [name, labels] of liveMetrics(await revoking.metrics())) {
    if ((live.get(name)?.size ?? 0) < labels.size || !live.has(name)) live.set(name, labels);
  }
  return live;
}

/** A cambist that learns of revocations, and has a SPIFFE agent. */
async function startRevoking(t: TestContext, secret: string) {
  const spiffe = await startSpiffeAgent(t);
  const authority = createCertificateAuthority();
  const certificate = authority.issueClient({ hosts: ['spiffe://example.org/a'] });
  spiffe.send(x509SvidResponse([svidParts('spiffe://example.org/a', certificate, authority.cert)]));
  const issuer = 'https://127.0.0.1:9';
  return startTestApp(t, {
    authorization_servers: {
      idp: {
        issuer,
        client_id: 'cambist',
        client_auth: { method: 'client_secret_post', client_secret: { file: secret } },
      },
    },
    inbound: {
      listen: '127.0.0.1:0',
      agent: 'http://127.0.0.1:9',
      verify: { issuer, audience: 'agent', introspection: {} },
    },
    cache: { shared: { url: 'redis://127.0.0.1:9', key: { file: secret } } },
    spiffe: { socket: spiffe.address },
    listen: { address: '127.0.0.1:0', tls: 'spiffe' },
    signals: {
      listen: '127.0.0.1:0',
      revoke: { secret: { file: secret } },
      transmitters: {
        idp: { issuer, audience: 'cambist', delivery: 'push', backchannel_logout: true },
        polled: {
          issuer,
          audience: 'cambist',
          delivery: 'poll',
          authorization: { file: secret },
          poll_endpoint: `${issuer}/poll`,
        },
      },
    },
    routes: [{ name: 'tools', match: { path: '/tools' }, upstream: 'http://127.0.0.1:9/mcp' }],
  });
}

/** Every file that users read or apply. */
function documents(): string[] {
  const within = (folder: string) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name));
  return [
    'README.md',
    'CHANGELOG.md',
    'SECURITY.md',
    ...listPagesIn('src'),
    ...listPagesIn('test'),
    ...within('config'),
    ...within('deploy'),
  ].filter((name) => /\.(md|yaml|json)$/.test(name));
}

test('every metric in a document, a rule or the dashboard is in a live /metrics', async (t) => {
  const live = await scrape(t);
  for (const document of documents()) {
    // The changelog names metrics that are gone.
    const [text = ''] = readFileSync(document, 'utf8').split('\n### Removed ');
    // The webhook is a separate program. test/unit/kubernetes tests its metrics. Findings of `doctor` are not metrics.
    for (const [name] of text.matchAll(/\bcambist_(?!webhook_|not_stopped\b)[a-z_]*[a-z]\b/g)) {
      assert.ok(live.has(typeName(live, name)), `${document}: ${name}`);
    }
  }
});

test('every metric of cambist in a live /metrics is on the dashboard and in the reference', async (t) => {
  const live = await scrape(t);
  const own = [...live.keys()].filter((name) => name.startsWith('cambist_'));
  const shown = new Set(
    queriesOf(dashboard).flatMap(({ expr }) => selectorsOf(expr).map(({ metric }) => typeName(live, metric))),
  );
  const reference = readFileSync('config/metrics.md', 'utf8');
  for (const name of own) assert.ok(reference.includes(`\`${name}\``), `${name} is not in config/metrics.md`);
  assert.deepEqual(own.filter((name) => !shown.has(name)).sort(), [...NOT_ON_THE_DASHBOARD].sort());
});

test('every query uses existing metrics, labels and values', async (t) => {
  // An alert is about the webhook.
  const webhook = await createWebhookMetrics('1', () => 0).exposition.write();
  const live = new Map([...liveMetrics(webhook), ...(await scrape(t))]);
  for (const { from, expr } of queries) {
    const selectors = selectorsOf(expr);
    assert.ok(selectors.length > 0, from);
    const groupings = new Set(TARGET_LABELS);
    for (const { metric, matchers } of selectors) {
      const labels = live.get(typeName(live, metric));
      const known = [...(labels?.keys() ?? []), ...(OF_PROMETHEUS[metric] ?? TARGET_LABELS)];
      assert.ok(labels !== undefined || metric in OF_PROMETHEUS, `${from}: no metric "${metric}"`);
      for (const { label, value } of matchers) {
        assert.ok(known.includes(label), `${from}: ${metric} has no label "${label}"`);
        if (!TARGET_LABELS.includes(label)) assertKnownValue(`${from}: ${label}="${value}"`, value, label, labels);
      }
      for (const label of known) groupings.add(label);
    }
    for (const label of groupingLabelsOf(expr)) assert.ok(groupings.has(label), `${from}: by "${label}"`);
  }
});

/** Plain words must be known values. Patterns and variables may be anything. */
function assertKnownValue(what: string, value: string, label: string, labels: LabelValues | undefined): void {
  const known: ReadonlySet<string> = label === 'error' ? new Set(ERROR_CODES) : (labels?.get(label) ?? new Set());
  const words = value.split('|').filter((word) => /^\w+$/.test(word) && word !== '');
  if (labels !== undefined) for (const word of words) assert.ok(known.has(word), what);
}
