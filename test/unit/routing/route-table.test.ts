import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RequestTarget } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { routeOf } from './sample-routes.ts';

const to = (host: string | undefined, path: string | undefined): RequestTarget => ({ host, path, query: '' });

function nameOf(routes: ReturnType<typeof routeOf>[], host: string | undefined, path: string | undefined) {
  return createRouteTable(routes).match(to(host, path))?.name;
}

test('prefers an exact host over a wildcard, and a wildcard over no host', () => {
  const any = routeOf('any', { path: '/mcp' });
  const wildcard = routeOf('wildcard', { host: '*.svc', path: '/mcp' });
  const exact = routeOf('exact', { host: 'github.svc', path: '/mcp' });
  assert.equal(nameOf([any, wildcard, exact], 'github.svc', '/mcp'), 'exact');
  assert.equal(nameOf([exact, any, wildcard], 'docs.svc', '/mcp'), 'wildcard');
  assert.equal(nameOf([exact, any, wildcard], 'docs.example.com', '/mcp'), 'any');
  assert.equal(nameOf([exact, any, wildcard], undefined, '/mcp'), 'any');
});

test('prefers a host over a longer path', () => {
  const routes = [routeOf('long', { path: '/mcp/v1/tools' }), routeOf('host', { host: 'github', path: '/' })];
  assert.equal(nameOf(routes, 'github', '/mcp/v1/tools'), 'host');
});

test('skips a route whose host matches and whose path does not', () => {
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

test('prefers the longest path in whole segments', () => {
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

test('finds no route for a path outside all prefixes', () => {
  const routes = [routeOf('mcp', { path: '/mcp' }), routeOf('other', { host: 'other' })];
  assert.equal(nameOf(routes, 'h', '/'), undefined);
  assert.equal(nameOf(routes, 'h', '/mc'), undefined);
  assert.equal(nameOf(routes, 'h', '/mcpx/mcp'), undefined);
});

test('finds no route for an invalid path, not even the route for all paths', () => {
  assert.equal(nameOf([routeOf('root', { path: '/' })], 'h', undefined), undefined);
});

test('finds no route in an empty table', () => {
  assert.equal(nameOf([], 'h', '/'), undefined);
});
