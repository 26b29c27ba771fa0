import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, parseAllDocuments } from 'yaml';
import { snippet } from '../../../src/commands/snippet.ts';
import { type SnippetFacts, snippetFacts } from '../../../src/decisions/snippet-facts.ts';
import { SNIPPETS, type SnippetKind, whyUnable } from '../../../src/decisions/snippets.ts';
import { configOf, type WrittenConfig } from '../../harness/app.ts';

const server = (timeout: string) => ({
  token_endpoint: 'https://idp.example.com/token',
  client_id: 'cambist',
  client_auth: { method: 'none' },
  timeout,
});
const SOCKET = { http: { listen: 'unix:/run/cambist/decisions.sock' } };
const upstream = 'https://mcp.example.com/mcp';
const GITHUB = { name: 'github', match: { path: '/github' }, upstream };

function read(routes: readonly unknown[], top: WrittenConfig = {}, only?: string, kind = 'envoy') {
  const config = configOf({ authorization_servers: { main: server('7s') }, decisions: SOCKET, routes, ...top });
  return snippetFacts(config, kind, only);
}

function factsOf(...args: Parameters<typeof read>): SnippetFacts {
  const found = read(...args);
  return 'facts' in found ? found.facts : assert.fail(found.problem);
}

const nameOf = ({ name }: { name: string }) => name;

test('knows headers, time limit and order of the routes', () => {
  const facts = factsOf([
    { name: 'all', match: { path: '/' }, upstream, credential: 'none' },
    { ...GITHUB, send: { header: 'X-Api-Key' }, subject_token: { header: 'X-User-Token' } },
    { name: 'host', match: { host: '*.example.com' }, upstream, unattended: 'none' },
    { name: 'reads', match: { path: '/github', methods: ['GET'] }, upstream },
  ]);
  assert.deepEqual(facts.routes.map(nameOf), ['host', 'reads', 'github', 'all']);
  assert.equal(facts.timeoutSeconds, 8);
  const [host, reads, github, all] = facts.routes;
  assert.deepEqual([host?.needsBody, reads?.needsBody, reads?.methods], [true, false, ['GET']]);
  assert.equal(github?.credentialHeader, 'x-api-key');
  for (const name of ['authorization', 'x-user-token', 'dpop', 'x-original-url'])
    assert.ok(github?.removed.includes(name), name);
  assert.deepEqual([all?.credentialHeader, all?.removed.includes('authorization')], [undefined, true]);
});

const byTool = (name: string, tool: string, url: string) => ({
  name,
  match: { path: '/tools', mcp_name: tool },
  upstream: url,
});

const READ = byTool('read', 'read', upstream);

test('explains why it prints no snippet', () => {
  const match = { decisions: { ...SOCKET, routes_by: 'match' } };
  const other = 'https://other.example.com/mcp';
  const dpop = { authorization_servers: { main: { ...server('1s'), dpop: true } } };
  for (const [found, problem] of [
    [read([GITHUB], { decisions: undefined }), /^the config has no decisions/],
    [read([GITHUB], {}, 'gitub'), /^no route has the name "gitub"$/],
    [read([GITHUB], match, 'github'), /^--route needs decisions\.routes_by: name/],
    [read([GITHUB], dpop), /^route "github" cannot be used, because its tokens are bound to a key/],
    [read([READ]), /because it depends on the message/],
    [read([READ, byTool('rest', '*', other)], match), /^routes "read" and "rest" differ by/],
    [read([READ, { ...GITHUB, match: { path: '/' }, upstream: other }], match), /and "github"/],
  ] as const) {
    assert.match('problem' in found ? found.problem : '', problem);
  }
});

test('leaves out the routes that a data plane cannot use', () => {
  const { routes } = factsOf([GITHUB, READ]);
  assert.deepEqual(routes.map(nameOf), ['github']);
});

for (const [kind, write] of Object.entries(SNIPPETS)) {
  test(`${kind}: names the file of the secret, and not the secret`, () => {
    const http = { listen: '0.0.0.0:8183', secret: { file: '/run/secrets/decisions' } };
    const text = write(factsOf([GITHUB], { decisions: { http } }));
    assert.match(text, /\/run\/secrets\/decisions/);
    assert.doesNotMatch(text, /0\.0\.0\.0:8183|null|undefined/);
  });
}

function managerOf(facts: SnippetFacts) {
  const { static_resources } = parse(SNIPPETS.envoy(facts));
  return static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
}

test('envoy: one route is asked about by its name, several by their own, and the rest by none', () => {
  const docs = { ...GITHUB, name: 'docs', match: { path: '/docs' } };
  const byMatch = { decisions: { ...SOCKET, routes_by: 'match' } };
  for (const [facts, prefix] of [
    [factsOf([GITHUB, docs], {}, 'github'), '/ext-authz/github'],
    [factsOf([GITHUB, docs]), '/no-route'],
    [factsOf([GITHUB, docs], byMatch), '/ext-authz'],
  ] as const) {
    const [{ typed_config: filter }] = managerOf(facts).http_filters;
    assert.equal(filter.http_service.path_prefix, prefix);
    assert.equal(filter.failure_mode_allow, false);
    assert.deepEqual(filter.status_on_error, { code: 'ServiceUnavailable' });
  }
});

test('envoy: routes that differ by message share one', () => {
  const routes = [READ, byTool('write', 'write', upstream)];
  const facts = factsOf(routes, { decisions: { ...SOCKET, routes_by: 'match' } });
  const [{ routes: written }] = managerOf(facts).route_config.virtual_hosts;
  const clusters = written.map(({ route }: { route: { cluster: string } }) => route.cluster);
  assert.deepEqual(clusters, ['cambist_listen', 'read']);
});

test('envoy: cambist never sees the header in which a proxy forwards certificates, if clients could set it', () => {
  const facts = factsOf([GITHUB]);
  assert.match(SNIPPETS.envoy({ ...facts, forwardedHeader: 'x-client' }), /patterns: \[.*\{ exact: "x-client" \}\]/);
});

test('envoy-gateway, istio: each route fails closed, is named, and gets the issued token', () => {
  const facts = factsOf([GITHUB, { ...GITHUB, name: 'docs', match: { path: '/docs' }, send: { header: 'X-Api-Key' } }]);
  const read = (text: string) => parseAllDocuments(text).map((each) => each.toJS());
  const gateway = read(SNIPPETS['envoy-gateway'](facts)).map(({ spec: { extAuth } }) => [
    extAuth.failOpen,
    String(extAuth.statusOnError),
    extAuth.timeout,
    extAuth.http.path,
    extAuth.http.headersToBackend,
    extAuth.headersToExtAuth.includes('authorization'),
  ]);
  const [mesh, ...policies] = read(SNIPPETS.istio(facts));
  for (const { spec } of policies) assert.deepEqual(spec.rules, [{}]);
  const providers: unknown[] = [];
  for (const { envoyExtAuthzHttp: provider } of mesh.extensionProviders) {
    providers.push([
      provider.failOpen,
      provider.statusOnError,
      provider.timeout,
      provider.pathPrefix,
      provider.headersToUpstreamOnAllow,
      provider.includeRequestHeadersInCheck.includes('authorization'),
    ]);
  }
  const each = [
    [false, '503', '8s', '/ext-authz/github', ['authorization', 'x-request-id'], true],
    [false, '503', '8s', '/ext-authz/docs', ['x-api-key', 'x-request-id'], true],
  ];
  assert.deepEqual([gateway, providers], [each, each]);
});

test('explains why a data plane cannot ask at a listener', () => {
  const port = { http: { listen: '127.0.0.1:8183', secret: { file: '/secret' } } };
  const files = { certificate: { file: '/c' }, private_key: { file: '/k' }, client_ca: { file: '/a' } };
  const mutual = { http: { listen: { address: '127.0.0.1:8183', tls: files } } };
  const listen = 'unix:/run/cambist/proxy.sock';
  const cases: readonly (readonly [WrittenConfig, readonly string[]])[] = [
    [{ decisions: SOCKET }, ['envoy-gateway', 'istio', 'traefik']],
    [{ decisions: port }, []],
    [{ decisions: port, listen }, ['envoy-gateway', 'istio', 'traefik']],
    [{ decisions: mutual }, []],
  ];
  for (const [top, unable] of cases) {
    const facts = factsOf([GITHUB], top);
    const found = (Object.keys(SNIPPETS) as SnippetKind[]).filter((kind) => whyUnable(kind, facts) !== undefined);
    assert.deepEqual(found, unable);
  }
});

test('names the kinds of data plane', async () => {
  await assert.rejects(snippet([]), /snippet takes one kind of data plane: .*envoy/);
  await assert.rejects(snippet(['enovy']), /unknown kind "enovy": did you mean "envoy"\?/);
  await assert.rejects(snippet(['x']), /unknown kind "x": use .*envoy/);
});

test('nginx: a route without a host is served on every host, and a host alone on its own', () => {
  const host = { ...GITHUB, name: 'host', match: { path: '/own', host: '*.example.com' } };
  const text = SNIPPETS.nginx(factsOf([host, GITHUB]));
  const [any = '', own = ''] = text.split('  server {\n').slice(1);
  assert.match(any, /server_name _;/);
  assert.match(own, /server_name \*\.example\.com;/);
  assert.deepEqual(
    [any, own].map((server) => server.match(/set \$cambist_route (.*);/g)?.length),
    [1, 2],
  );
});

test('traefik: drops every header of a credential and its aliases, and keeps only that of the issued token', () => {
  const http = { listen: '127.0.0.1:8183', secret: { file: '/run/secret' } };
  const text = SNIPPETS.traefik(factsOf([{ ...GITHUB, send: { header: 'X-Api-Key' } }], { decisions: { http } }));
  const [, main = '', dynamic = ''] = text.split(/^# file: .*\n/m);
  assert.equal(parse(main).entryPoints.agents.http.aliasHeadersStrategy, 'delete');
  const { middlewares } = parse(dynamic).http;
  const { trustForwardHeader, authResponseHeaders } = middlewares['github-ask'].forwardAuth;
  assert.deepEqual([trustForwardHeader, authResponseHeaders], [false, ['x-api-key']]);
  const { customRequestHeaders: dropped } = middlewares['github-drop'].headers;
  for (const name of ['authorization', 'dpop', 'x-cambist-decision-secret']) assert.equal(dropped[name], '', name);
  assert.equal(dropped['x-api-key'], undefined);
});
