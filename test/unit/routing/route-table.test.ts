import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Conditions, Match } from '../../../src/config/match.ts';
import type { McpMessage } from '../../../src/routing/conditions.ts';
import { parseRequestTarget, upstreamPath } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { whyNoRoute, whyNot } from '../../../src/routing/why-routed.ts';
import { routeOf } from './sample-routes.ts';

const NONE: Conditions = { methods: undefined, mcpMethods: undefined, mcpNames: undefined };
const conditional = (name: string, conditions: Partial<Conditions>, match: Partial<Match> = {}) =>
  routeOf(name, { path: '/mcp', ...match, conditions: { ...NONE, ...conditions } });
const plain = routeOf('plain', { path: '/mcp' });
const target = { host: 'h', path: '/mcp', query: '' };

test('refuses a name that a lenient server reads as the name of another route', () => {
  const routes = [
    plain,
    conditional('delete', { mcpNames: ['delete', 'résumé™'] }),
    conditional('write', { mcpNames: ['write_*', 'ｄｏ'] }),
  ];
  const call = (name: string): McpMessage => ({ method: 'tools/call', name });
  const taken = (message: McpMessage) => createRouteTable(routes).match(target, { method: 'POST', message })?.name;
  for (const name of ['ｄelete', 'del\u200bete', 'delete\ud800', '\udc00delete', 'dele\u00adte\ufe0f', 'write\u2060_x'])
    assert.equal(taken(call(name)), undefined, name);
  assert.equal(taken(call('é'.repeat(1025))), undefined);
  for (const [name, route] of [
    ['ｄｏ', 'write'],
    ['résumé™', 'delete'],
    ['write_ｄelete', 'write'],
    ['検索（高度）', 'plain'],
    ['👩\u200d💻', 'plain'],
    ['DELETE', 'plain'],
  ] as const)
    assert.equal(taken(call(name)), route, name);
});

test('needs the body only for a POST that a route by message could take', () => {
  const big = { ...conditional('big', { mcpNames: ['y'] }), retryBodyLimitBytes: 100_000 };
  const table = createRouteTable([
    plain,
    conditional('call', { mcpNames: ['x'] }),
    big,
    routeOf('other', { path: '/other' }),
  ]);
  assert.deepEqual(table.match(target, { method: 'POST', message: 'unread' }), { bodyLimitBytes: 100_000 });
  const nameOf = (method: string, path: string) => {
    const found = table.match({ ...target, path }, { method, message: 'unread' });
    return found !== undefined && 'name' in found ? found.name : found;
  };
  assert.equal(nameOf('GET', '/mcp'), 'plain');
  assert.equal(nameOf('DELETE', '/mcp/x'), 'plain');
  assert.equal(nameOf('POST', '/other'), 'other');
  const byMethod = createRouteTable([conditional('put', { methods: ['PUT'] }), plain]);
  const found = byMethod.match(target, { method: 'POST', message: 'unread' });
  assert.ok(found !== undefined && 'name' in found && found.name === 'plain');
});

test('lists the candidates of a path up to the first route without conditions', () => {
  const get = conditional('get', { methods: ['GET'] }, { host: 'h' });
  const below = routeOf('below', { path: '/' });
  const table = createRouteTable([below, plain, get]);
  const names = (host: string, path: string) => table.candidates({ host, path, query: '' }).map(({ name }) => name);
  assert.deepEqual(names('h', '/mcp/x'), ['get', 'plain']);
  assert.deepEqual(names('other', '/mcp'), ['plain']);
  assert.deepEqual(names('h', '/x'), ['below']);
});

test('knows the hosts that its routes name', () => {
  const table = createRouteTable([
    plain,
    routeOf('exact', { host: 'a.svc' }),
    routeOf('wild', { host: '*.tools.svc' }),
  ]);
  const hosts = ['a.svc', 'x.tools.svc', 'x.y.tools.svc', 'tools.svc', 'b.svc', 'x.a.svc'];
  assert.deepEqual(
    hosts.filter((host) => table.namesHost(host)),
    ['a.svc', 'x.tools.svc', 'x.y.tools.svc'],
  );
});

const github = routeOf('github', { host: 'github.tools.svc', path: '/mcp' });
const wildcard = routeOf('wildcard', { host: '*.tools.svc', path: '/mcp' });
const any = routeOf('any', { path: '/' });

const DISGUISED = 'some servers read the request path or the MCP name as one that has other routes';

test('says why a route does not take a request', () => {
  const host = 'github.tools.svc';
  for (const [route, url, hosts, taken, why] of [
    [github, '/mcp', ['docs.svc'], any, 'its host github.tools.svc is not docs.svc'],
    [wildcard, '/mcp', ['docs.svc'], any, 'its host *.tools.svc is not docs.svc'],
    [wildcard, '/mcp', ['.tools.svc'], any, 'its host *.tools.svc is not .tools.svc'],
    [github, '/mcp', [], any, 'it wants the host github.tools.svc'],
    [github, '/mcpx', [host], any, 'its path /mcp is not a prefix of /mcpx in whole segments'],
    [any, '/mcp/..%2fadmin', [host], undefined, 'the request path is invalid or contains dot segments'],
    [wildcard, '/mcp/x', [host], github, 'the host of "github" is more specific'],
    [any, '/mcp/x', [host], wildcard, 'the host of "wildcard" is more specific'],
    [any, '/mcp/x', [host], plain, 'the path of "plain" is longer'],
    [any, '/%6dcp', [host], undefined, DISGUISED],
  ] as const) {
    assert.equal(whyNot(route, parseRequestTarget(url, hosts), taken), why);
  }
});

const table = createRouteTable([
  routeOf('github', { host: '127.0.0.1', path: '/github' }),
  routeOf('wildcard', { host: '*.tools.svc', path: '/mcp' }),
  routeOf('docs', { path: '/docs' }),
  conditional('read', { methods: ['GET'] }, { host: '127.0.0.1', path: '/read' }),
]);

test('names the part of a request that no route has', () => {
  const cases: [url: string, hosts: string[], reason: RegExp][] = [
    ['/github', ['localhost:8180'], /^no route has its host, and no route without a host has its path$/],
    ['/github', [], /^no route has its host/],
    ['/gihtub', ['127.0.0.1:8180'], /^no route with its host has its path$/],
    ['/other', ['any.tools.svc'], /^no route with its host has its path$/],
    ['/read', ['127.0.0.1'], /^the routes with its host and path want another method or message/],
    ['/github//..;/read', ['127.0.0.1'], /^the request path is invalid or contains dot segments$/],
    ['/github/%2e%2e/read', ['127.0.0.1'], /^the request path is invalid or contains dot segments$/],
    ['/docs;x/..', ['127.0.0.1'], /^the request path is invalid/],
  ];
  for (const [url, hosts, reason] of cases)
    assert.match(whyNoRoute(parseRequestTarget(url, hosts), table), reason, url);
});

/** The upstream path for a match, an upstream and a request. */
const TABLE: readonly (readonly [match: string, upstream: string, request: string, path: string])[] = [
  ['/github', '/mcp', '/github', '/mcp'],
  ['/github', '/mcp', '/github/', '/mcp/'],
  ['/github', '/mcp', '/github//x/y', '/mcp//x/y'],
  ['/github', '/mcp/', '/github', '/mcp/'],
  ['/github', '/mcp/', '/github/', '/mcp/'],
  ['/github', '/mcp/', '/github/x', '/mcp/x'],
  ['/github', '', '/github', '/'],
  ['/github', '', '/github/x', '/x'],
  ['/', '/mcp', '/', '/mcp'],
  ['/', '/mcp', '/x//', '/mcp/x//'],
  ['/', '/mcp/', '/', '/mcp/'],
  ['/', '/mcp/', '/x', '/mcp/x'],
  ['/', '', '/', '/'],
  ['/a/b', '/c/d/e', '/a/b/f', '/c/d/e/f'],
];

test('replaces the matched prefix with the path of the upstream', () => {
  for (const [match, upstream, request, expected] of TABLE) {
    const route = routeOf('r', { path: match }, { path: upstream });
    const label = `${match} → "${upstream}": ${request}`;
    assert.equal(upstreamPath(route, parseRequestTarget(request, ['h'])), expected, label);
  }
});

test('keeps the query and the percent-encoding', () => {
  const route = routeOf('r', { path: '/github' }, { path: '/mcp' });
  for (const [request, expected] of [
    ['/github?', '/mcp?'],
    ['/github?a=%2f&b=+&a=%zz?/..', '/mcp?a=%2f&b=+&a=%zz?/..'],
    ['/github/?q', '/mcp/?q'],
    ['/github/%41%2Fb%7e/%E2%82%ac?x', '/mcp/%41%2Fb%7e/%E2%82%ac?x'],
    ['http://github-mcp/github?a', '/mcp?a'],
  ]) {
    assert.equal(upstreamPath(route, parseRequestTarget(request as string, ['h'])), expected);
  }
});
