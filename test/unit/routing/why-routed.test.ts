import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { whyNoRoute, whyNot } from '../../../src/routing/why-routed.ts';
import { routeOf } from './sample-routes.ts';

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
