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
import { call } from '../../harness/http-call.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { codeWords, listPagesIn } from '../../harness/pages.ts';
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

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

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

/** The metrics of a cambist with every section, after requests of an agent. Its store and its peers are down. */
async function scrape(t: TestContext): Promise<ReadonlyMap<string, LabelValues>> {
  const folder = temporaryFolder(t);
  const file = join(folder, 'actor');
  const token = new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('1h');
  writeFileSync(file, await token.sign(new Uint8Array(32)));
  const spiffe = await startSpiffeAgent(t);
  const authority = createCertificateAuthority();
  const certificate = authority.issueClient({ hosts: ['spiffe://example.org/a'] });
  spiffe.send(x509SvidResponse([svidParts('spiffe://example.org/a', certificate, authority.cert)]));
  const cluster = await startFakeAuthorizationServer(t);
  const peer = 'https://127.0.0.1:9';
  const local = { audience: 'cambist', issuer: peer };
  const client_auth = { method: 'client_secret_post', client_secret: { file } };
  const written = {
    authorization_servers: { local: { issuer: peer, client_id: 'cambist', client_auth } },
    inbound: {
      listen: { address: '127.0.0.1:0', tls: 'spiffe' },
      agent: 'http://127.0.0.1:9',
      verify: { issuer: peer, audience: 'agent', introspection: {} },
    },
    decisions: { http: { listen: `unix:${join(folder, 'http')}` }, grpc: { listen: `unix:${join(folder, 'grpc')}` } },
    agents: {
      token: { header: 'x-agent-token', ...local, issuer: cluster.issuer },
      known: { batch: { subject: 'batch' } },
    },
    forward_proxy: { connect: ['api.example.com:443'] },
    audit: { to: { file: join(folder, 'audit.jsonl') } },
    intercept: { trust_dir: folder },
    cache: { shared: { url: 'redis://127.0.0.1:9', key: { file } } },
    spiffe: { socket: spiffe.address },
    signals: {
      listen: '127.0.0.1:0',
      revoke: { secret: { file } },
      transmitters: {
        pushed: { ...local, delivery: 'push', backchannel_logout: true },
        polled: { ...local, delivery: 'poll', authorization: { file }, poll_endpoint: `${peer}/poll` },
      },
    },
    routes: [
      {
        name: 'tools',
        match: { path: '/tools' },
        upstream: 'http://127.0.0.1:9/mcp',
        actor_token: { file, type: 'jwt' },
        on_missing_subject: 'client_credentials',
      },
    ],
    routes_from: [
      { name: 'billing', folder: join(folder, 'missing'), paths: ['/billing'], upstreams: ['http://127.0.0.1:9'] },
    ],
  };
  const app = await startTestApp(t, written);
  app.reload(await readConfigOf(written));
  const headers = { 'x-agent-token': await cluster.mint({ subject: 'batch', audience: 'cambist' }) };
  for (const path of ['/tools', '/elsewhere']) await call(`${app.url}${path}`, { headers });
  return liveMetrics(await app.metrics());
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

test('every metric of cambist in a live /metrics is on the dashboard', async (t) => {
  const live = await scrape(t);
  const own = [...live.keys()].filter((name) => name.startsWith('cambist_'));
  const shown = new Set(
    queriesOf(dashboard).flatMap(({ expr }) => selectorsOf(expr).map(({ metric }) => typeName(live, metric))),
  );
  assert.deepEqual(
    own.filter((name) => !shown.has(name)),
    [],
  );
});

test('config/metrics.md lists every metric of a live /metrics with its labels', async (t) => {
  const reference = readFileSync('config/metrics.md', 'utf8');
  const documented = [...reference.matchAll(/^\| `cambist_.*/gm)].map(([row]) =>
    row.split(' | ').slice(0, 2).flatMap(codeWords),
  );
  const registered = [...(await scrape(t))]
    .filter(([name]) => name.startsWith('cambist_'))
    .map(([name, labels]) => [name, ...[...labels.keys()].filter((label) => label !== 'le')]);
  assert.deepEqual(documented.sort(), registered.sort());
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
