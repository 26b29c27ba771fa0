import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequestTarget, type RequestTarget, upstreamPath } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { whyNoRoute, whyNot } from '../../../src/routing/why-routed.ts';
import { routeOf } from './sample-routes.ts';

const to = (host: string | undefined, path: string | undefined): RequestTarget => ({ host, path, query: '' });

function nameOf(routes: ReturnType<typeof routeOf>[], host: string | undefined, path: string | undefined) {
  return createRouteTable(routes).match(to(host, path))?.name;
}

test('matches a wildcard against one or more labels and prefers the longest', () => {
  const routes = [routeOf('short', { host: '*.svc' }), routeOf('long', { host: '*.tools.svc' })];
  assert.equal(nameOf(routes, 'github.tools.svc', '/'), 'long');
  assert.equal(nameOf(routes, 'a.b.c.tools.svc', '/'), 'long');
  assert.equal(nameOf(routes, 'tools.svc', '/'), 'short');
  assert.equal(nameOf(routes, 'xtools.svc', '/'), 'short');
  assert.equal(nameOf(routes, 'svc', '/'), undefined);
  assert.equal(nameOf(routes, '.svc', '/'), undefined);
  assert.equal(nameOf(routes, 'github.tools.svc.evil.com', '/'), undefined);
});

const github = routeOf('github', { host: 'github.tools.svc', path: '/mcp' });
const wildcard = routeOf('wildcard', { host: '*.tools.svc', path: '/mcp' });
const any = routeOf('any', { path: '/' });

test('names a different host', () => {
  const target = parseRequestTarget('/mcp', ['docs.svc']);
  assert.equal(whyNot(github, target, any), 'its host github.tools.svc is not docs.svc');
  assert.equal(whyNot(wildcard, target, any), 'its host *.tools.svc is not docs.svc');
  const labelless = parseRequestTarget('/mcp', ['.tools.svc']);
  assert.equal(whyNot(wildcard, labelless, any), 'its host *.tools.svc is not .tools.svc');
});

test('names the host that a request without one lacks', () => {
  assert.equal(whyNot(github, parseRequestTarget('/mcp', []), any), 'it wants the host github.tools.svc');
});

test('names a path that is not a prefix in whole segments', () => {
  const target = parseRequestTarget('/mcpx', ['github.tools.svc']);
  assert.equal(whyNot(github, target, any), 'its path /mcp is not a prefix of /mcpx in whole segments');
});

test('reports an invalid request path', () => {
  const target = parseRequestTarget('/mcp/..%2fadmin', ['github.tools.svc']);
  assert.match(whyNot(any, target, undefined), /the request path is invalid/);
});

test('names the route that wins, and why', () => {
  const target = parseRequestTarget('/mcp/x', ['github.tools.svc']);
  assert.equal(whyNot(wildcard, target, github), 'the host of "github" is more specific');
  assert.equal(whyNot(any, target, wildcard), 'the host of "wildcard" is more specific');
  const deeper = routeOf('deeper', { path: '/mcp' });
  assert.equal(whyNot(any, target, deeper), 'the path of "deeper" is longer');
});

test('reports that servers read the path differently', () => {
  const target = parseRequestTarget('/%6dcp', ['github.tools.svc']);
  assert.match(
    whyNot(any, target, undefined),
    /some servers read the request path or the MCP name as one that has other routes/,
  );
});

const conditions = { methods: ['GET'], mcpMethods: undefined, mcpNames: undefined };
const table = createRouteTable([
  routeOf('github', { host: '127.0.0.1', path: '/github' }),
  routeOf('wildcard', { host: '*.tools.svc', path: '/mcp' }),
  routeOf('docs', { path: '/docs' }),
  routeOf('read', { host: '127.0.0.1', path: '/read', conditions }),
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
  ['/github', '/mcp', '/github/x/y', '/mcp/x/y'],
  ['/github', '/mcp', '/github//x', '/mcp//x'],
  ['/github', '/mcp/', '/github', '/mcp/'],
  ['/github', '/mcp/', '/github/', '/mcp/'],
  ['/github', '/mcp/', '/github/x', '/mcp/x'],
  ['/github', '', '/github', '/'],
  ['/github', '', '/github/', '/'],
  ['/github', '', '/github/x', '/x'],
  ['/', '/mcp', '/', '/mcp'],
  ['/', '/mcp', '/x', '/mcp/x'],
  ['/', '/mcp', '/x/', '/mcp/x/'],
  ['/', '/mcp', '//', '/mcp//'],
  ['/', '/mcp/', '/', '/mcp/'],
  ['/', '/mcp/', '/x', '/mcp/x'],
  ['/', '', '/', '/'],
  ['/', '', '/x', '/x'],
  ['/mcp', '/mcp', '/mcp', '/mcp'],
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
