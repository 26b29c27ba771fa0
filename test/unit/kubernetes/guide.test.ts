import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { getIn, type JsonObject, objectsOf } from '../../../src/kubernetes/json.ts';
import { OPTIONS, parseOptions } from '../../../src/kubernetes/options.ts';
import { createPodConfig } from '../../../src/kubernetes/pod-config.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { createWebhookMetrics } from '../../../src/kubernetes/webhook-metrics.ts';
import { codeWords, fencedBlocks, readPagesIn, tableRows } from '../../harness/pages.ts';
import { liveMetrics } from '../../integration/deploy/dashboard.ts';
import { environment, request } from './samples.ts';

const guide = readPagesIn('deploy');
const kagentIn = (pages: string) =>
  fencedBlocks(pages, 'yaml kagent').map((block) => parse(block, { version: '1.1' }) as JsonObject);
const kagent = kagentIn(readFileSync('deploy/kagent.md', 'utf8'));
const agents = kagent.filter(({ kind }) => kind === 'Agent');
const [agent = {}, intercepted = {}] = agents;
const servers = kagent.filter(({ kind }) => kind === 'RemoteMCPServer');
const config = parse(readFileSync('config/kagent.yaml', 'utf8')) as JsonObject;
const routes = objectsOf(config.routes);

test('the guide lists every injection option with its default and meaning', () => {
  const documented = tableRows(guide, '| option ').map(([name = '', otherwise = '', means]) => [
    codeWords(name)[0],
    codeWords(otherwise)[0],
    means,
  ]);
  const known = Object.entries(OPTIONS).map(([name, { default: fallback, help }]) => [name, fallback, help]);
  assert.deepEqual(documented, known);
});

test('the guide lists every metric of the webhook with its labels', async () => {
  const documented = tableRows(guide, 'webhook metric').map(([name, labels]) =>
    [name, labels].flatMap((cell) => codeWords(cell ?? '')),
  );
  const shown = [...liveMetrics(await createWebhookMetrics('0', () => 0).exposition.write())]
    .filter(([name]) => name.startsWith('cambist_'))
    .map(([name, labels]) => [name, ...[...labels.keys()].filter((label) => label !== 'le')]);
  assert.deepEqual(documented.sort(), shown.sort());
});

test("the Agent's annotations are options, and its Secret is mounted at the client secret of the config", () => {
  const annotations = getIn(agent, ['spec', 'declarative', 'deployment', 'annotations']) as Record<string, string>;
  const written = Object.fromEntries(
    Object.entries(annotations).map(([key, value]) => [key.replace('cambist.dev/', ''), value]),
  );
  assert.equal(parseOptions({ image: 'i', ...written }).secret, 'cambist');
  const file = getIn(config, ['authorization_servers', 'main', 'client_auth', 'client_secret', 'file']);
  assert.match(String(file), /^\/var\/run\/secrets\/cambist\//);
});

test('every tool server of the page matches a route, by the host that kagent names or by its path', () => {
  const block = fencedBlocks(guide, 'yaml cambist').find((text) => text.includes('name: jira')) ?? '';
  const more = objectsOf((parse(block) as JsonObject).routes);
  const parsed = parseConfig(stringify({ ...config, routes: [...routes, ...more] }), 'f');
  assert.deepEqual(
    new Set(parsed.problems.map(({ path }) => path)),
    new Set(['routes[0].unattended', 'routes[4].unattended']),
  );
  for (const server of servers) {
    const url = new URL(String(getIn(server, ['spec', 'url'])));
    const meets = (route: JsonObject): boolean =>
      url.host === config.listen
        ? getIn(route, ['match', 'path']) === url.pathname
        : getIn(route, ['match', 'host']) === url.hostname;
    assert.ok([...routes, ...more].some(meets), url.href);
  }
  assert.equal(config.host_header, 'x-kagent-host');
});

test('the intercepted Agent names the host of its route in the annotation, the config listens for names, and each way injects it', () => {
  const annotations = getIn(intercepted, ['spec', 'declarative', 'deployment', 'annotations']) as Record<
    string,
    string
  >;
  const block = fencedBlocks(guide, 'yaml cambist').find((text) => text.includes('name: releases')) ?? '';
  const keys = parse(block) as JsonObject;
  const labels = { 'cambist.dev/inject': 'enabled' };
  const injected = (more: Record<string, string> = {}) => {
    const metadata = { labels, annotations: { ...annotations, ...more } };
    const given = { metadata, spec: { containers: [{ name: 'kagent' }] } };
    const { template, outcome, reasons } = injectPod(given, request({ optIn: true }));
    assert.equal(outcome, 'injected', reasons.join());
    return template;
  };
  const template = injected();
  const proxied = injected({ 'cambist.dev/intercept': 'proxy' });
  const packets = { 'cambist.dev/intercept': 'packets', 'cambist.dev/redirect-image': 'r/cambist-redirect:1' };
  for (const other of [proxied, injected(packets)]) assert.equal(getIn(other, ['spec', 'hostAliases']), undefined);
  assert.ok('HTTPS_PROXY' in environment(proxied, 'kagent') && !('HTTPS_PROXY' in environment(template, 'kagent')));
  const hosts = objectsOf(keys.routes).map(({ match }) => getIn(match, ['host']));
  assert.deepEqual(getIn(template, ['spec', 'hostAliases', 0, 'hostnames']), [...new Set(hosts)]);
  const text = stringify({ ...config, ...keys });
  const known = createPodConfig(text, 'f');
  const flags = { image: 'i', secret: 'cambist', intercept: 'names' };
  assert.deepEqual(known.check(parseOptions({ ...known.ports, ...flags })), []);
});

test("the Agent passes the caller's token to each of its tools, and lists their names", () => {
  const tools = objectsOf(getIn(agent, ['spec', 'declarative', 'tools'])).map(({ mcpServer }) => mcpServer);
  assert.deepEqual(
    tools.map((tool) => getIn(tool, ['name'])),
    servers.map((server) => getIn(server, ['metadata', 'name'])),
  );
  for (const tool of tools) {
    assert.deepEqual(getIn(tool, ['allowedHeaders']), ['Authorization']);
    assert.equal((getIn(tool, ['toolNames']) as string[]).length, 1);
  }
});
