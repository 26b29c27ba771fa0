import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RequestTarget } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { routeOf } from './sample-routes.ts';

const to = (host: string | undefined, path: string | undefined): RequestTarget => ({ host, path, query: '' });

function nameOf(routes: ReturnType<typeof routeOf>[], host: string | undefined, path: string | undefined) {
  return createRouteTable(routes).match(to(host, path))?.name;
}

test('an exact host goes before a wildcard, and a wildcard before no host', () => {
  const any = routeOf('any', { path: '/mcp' });
  const wildcard = routeOf('wildcard', { host: '*.svc', path: '/mcp' });
  const exact = routeOf('exact', { host: 'github.svc', path: '/mcp' });
  assert.equal(nameOf([any, wildcard, exact], 'github.svc', '/mcp'), 'exact');
  assert.equal(nameOf([exact, any, wildcard], 'docs.svc', '/mcp'), 'wildcard');
  assert.equal(nameOf([exact, any, wildcard], 'docs.example.com', '/mcp'), 'any');
  assert.equal(nameOf([exact, any, wildcard], undefined, '/mcp'), 'any');
});

test('a host goes before a longer path', () => {
  const routes = [routeOf('long', { path: '/mcp/v1/tools' }), routeOf('host', { host: 'github', path: '/' })];
  assert.equal(nameOf(routes, 'github', '/mcp/v1/tools'), 'host');
});

test('a route whose host fits and whose path does not leaves the request to the next', () => {
  const routes = [
    routeOf('exact', { host: 'a.tools.svc', path: '/x' }),
    routeOf('near', { host: '*.tools.svc', path: '/y' }),
    routeOf('far', { host: '*.svc', path: '/z' }),
    routeOf('any', { path: '/' }),
  ];
  for (const [path, name] of [
    ['/x', 'exact'],
    ['/y', 'near'],
    ['/z', 'far'],
    ['/w', 'any'],
  ]) {
    assert.equal(nameOf(routes, 'a.tools.svc', path), name);
  }
});

test('a wildcard spans labels, takes at least one, and the longest of several wins', () => {
  const routes = [routeOf('short', { host: '*.svc' }), routeOf('long', { host: '*.tools.svc' })];
  assert.equal(nameOf(routes, 'github.tools.svc', '/'), 'long');
  assert.equal(nameOf(routes, 'a.b.c.tools.svc', '/'), 'long');
  assert.equal(nameOf(routes, 'tools.svc', '/'), 'short');
  assert.equal(nameOf(routes, 'xtools.svc', '/'), 'short');
  assert.equal(nameOf(routes, 'svc', '/'), undefined);
  assert.equal(nameOf(routes, '.svc', '/'), undefined);
  assert.equal(nameOf(routes, 'github.tools.svc.evil.com', '/'), undefined);
});

test('the longest path wins, in whole segments', () => {
  const routes = [
    routeOf('root', { path: '/' }),
    routeOf('mcp', { path: '/mcp' }),
    routeOf('deep', { path: '/mcp/github/v1' }),
  ];
  for (const [path, name] of [
    ['/', 'root'],
    ['/mcpx', 'root'],
    ['/MCP', 'root'],
    ['/mcp', 'mcp'],
    ['/mcp/', 'mcp'],
    ['/mcp/github', 'mcp'],
    ['/mcp/github/v12', 'mcp'],
    ['/mcp/github/v1', 'deep'],
    ['/mcp/github/v1/', 'deep'],
    ['/mcp/github/v1/x/y', 'deep'],
    ['//mcp', 'root'],
    ['/mcp//x', 'mcp'],
  ]) {
    assert.equal(nameOf(routes, 'any', path), name, path);
  }
});

test('without a root route a path that none covers has no route', () => {
  const routes = [routeOf('mcp', { path: '/mcp' }), routeOf('other', { host: 'other' })];
  assert.equal(nameOf(routes, 'h', '/'), undefined);
  assert.equal(nameOf(routes, 'h', '/mc'), undefined);
  assert.equal(nameOf(routes, 'h', '/mcpx/mcp'), undefined);
});

test('a request without a usable path has no route, not even the one for all', () => {
  assert.equal(nameOf([routeOf('root', { path: '/' })], 'h', undefined), undefined);
});

test('an empty table has no route for anything', () => {
  assert.equal(nameOf([], 'h', '/'), undefined);
});
