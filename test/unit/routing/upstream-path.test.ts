import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequestTarget, upstreamPath } from '../../../src/routing/request-target.ts';
import { routeOf } from './sample-routes.ts';

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
