import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { whyNoRoute } from '../../../src/routing/why-no-route.ts';
import { routeOf } from './sample-routes.ts';

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
