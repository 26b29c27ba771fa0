import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { explain } from '../../../src/commands/explain.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/documents/config-node.ts';
import { parseRequestTarget, upstreamPath } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { callCommand } from '../../harness/call-command.ts';
import { PAGES, withKeyTables } from '../../harness/key-tables.ts';
import { readPagesIn } from '../../harness/pages.ts';
import { words } from '../../harness/words.ts';
import { configOf, problemsOf, ROUTE, SERVER } from './sample.ts';

const FOLDER = new URL('../../../config/', import.meta.url);
const reference = readPagesIn('config');

test('has the tables of keys that npm run schema writes, with each key and its default', () => {
  for (const page of PAGES) assert.equal(readFileSync(new URL(page, FOLDER), 'utf8'), withKeyTables(page), page);
});

/** The key warns on each route that has it, because no config says whether a server binds a session to its credential. */
const isUnexpected = (problem: string) => !/ warning: routes\[\d+\]\.unattended: /.test(problem);

/** `yaml` is a whole config. `yaml fragment` is top-level keys of one. Other words name the product that reads the block. */
const BLOCK = /^```(yaml[^\n]*)\n(.*?)^```$/gms;

const PRODUCTS = new Set(words('dex spring nais envoy team entry github gitlab').map((name) => `yaml ${name}`));

test('accepts every YAML block in the reference', () => {
  const blocks = [...reference.matchAll(BLOCK)].filter(([, kind = '']) => !PRODUCTS.has(kind));
  assert.ok(blocks.length >= 3);
  for (const [, kind, text = ''] of blocks) {
    assert.ok(kind === 'yaml' || kind === 'yaml fragment', kind);
    assert.deepEqual(problemsOf(kind === 'yaml' ? text : complete(text)).filter(isUnexpected), [], text);
  }
});

function complete(fragment: string): string {
  const needsServer = !fragment.includes('authorization_servers:') && !fragment.includes('credential: secret');
  const parts = [needsServer ? SERVER : '', fragment.includes('routes:') ? '' : ROUTE];
  return `version: 1\n${fragment}${parts.join('')}`;
}

test('routes the requests of the reference as documented', () => {
  const rows = [...reference.matchAll(/^\| `(\/\S*)` +\| `(https\S+)` +\| `(\S+)` +\| `(\S+)` +\|$/gm)];
  assert.ok(rows.length >= 7);
  for (const [row, path, upstream, request = '', goesTo] of rows) {
    const { routes } = configOf(
      `version: 1\nroutes:\n  - { name: a, match: { path: ${path} }, upstream: "${upstream}", credential: none }\n`,
    );
    const target = parseRequestTarget(request, ['127.0.0.1:8180']);
    const route = createRouteTable(routes).match(target);
    assert.ok(route !== undefined, row);
    assert.equal(route.upstream.origin + upstreamPath(route, target), goesTo, row);
  }
});

/** The route by which config/kagent.yaml sends a call of a kagent agent with `proxy.url` set. */
async function routeOfCall(host: string, path: string, mcpMethod = '') {
  const headers = [`x-kagent-host: ${host}`, `mcp-method: ${mcpMethod}`].flatMap((header) => ['-H', header]);
  const args = ['--config', 'config/kagent.yaml', '--json', ...headers, `http://127.0.0.1:8180${path}`];
  const { route, upstream, credential, unattended } = JSON.parse((await callCommand(explain, args)).stdout);
  return { route, upstream, credential, unattended };
}

test('sends each request for a tool server by one route, which takes handshakes and lists without a caller', async () => {
  const github = { route: 'github', upstream: 'http://github-mcp.tools.svc:8080/mcp', credential: 'exchange' };
  for (const mcpMethod of ['initialize', 'tools/list', 'tools/call', undefined]) {
    const route = await routeOfCall('github-mcp.tools', '/mcp', mcpMethod);
    assert.deepEqual(route, { ...github, unattended: 'client_credentials' });
  }
});

/** Calls of kagent's own tools and agents, which get no token, or the caller's. */
for (const [host, path, route, credential, to] of [
  ['kagent-tools.kagent', '/mcp', 'kagent-tools', 'none', 'kagent-tools.kagent.svc:8084'],
  ['researcher.kagent', '/', 'researcher', 'passthrough', 'researcher.kagent.svc:8080'],
  ['researcher.kagent', '/.well-known/agent-card.json', 'researcher', 'passthrough', 'researcher.kagent.svc:8080'],
  [
    'kagent-controller.kagent',
    '/api/a2a-sandboxes/kagent/planner',
    'sandbox-agents',
    'passthrough',
    'kagent-controller.kagent.svc:8083',
  ],
] as const) {
  test(`sends ${path} of ${host} to ${to}, by credential: ${credential}`, async () => {
    const expected = { route, upstream: `http://${to}${path}`, credential, unattended: undefined };
    assert.deepEqual(await routeOfCall(host, path, 'tools/call'), expected);
  });
}

for (const [host, path] of [
  ['kagent-controller.kagent', '/mcp'],
  ['kagent-controller.kagent', '/api/agents'],
  ['kagent-controller.kagent', '/'],
  ['another.kagent', '/mcp'],
  ['kagent-tools.kagent', '/'],
] as const) {
  test(`refuses ${path} of ${host}`, async () => {
    assert.equal((await routeOfCall(host, path, 'tools/call')).route, undefined);
  });
}

/** Files for other programs. */
const OTHERS = /\.schema\.json$|-realm\.json$/;
const examples = readdirSync(FOLDER).filter((file) => /\.(yaml|json)$/.test(file) && !OTHERS.test(file));

test('finds every example in the reference', () => {
  assert.ok(examples.length >= 8);
  for (const file of examples) assert.ok(reference.includes(`(${file})`), file);
});

for (const file of examples) {
  test(`accepts the example ${file} without an unexpected warning, and finds its schema`, () => {
    const text = readFileSync(new URL(file, FOLDER), 'utf8');
    const { config, problems } = parseConfig(text, file);
    assert.deepEqual(problems.map(formatProblem).filter(isUnexpected), []);
    assert.ok(config !== undefined);
    if (file.endsWith('.json')) assert.equal(JSON.parse(text).$schema, './cambist.schema.json');
    else assert.ok(text.startsWith('# yaml-language-server: $schema=./cambist.schema.json\n'));
  });
}
