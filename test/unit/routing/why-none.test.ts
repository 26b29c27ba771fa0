import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRequestTarget } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { whyNone } from '../../../src/routing/why-none.ts';
import { routeOf } from './sample-routes.ts';

const conditions = { methods: ['GET'], mcpMethods: undefined, mcpNames: undefined };
const table = createRouteTable([
  routeOf('github', { host: '127.0.0.1', path: '/github' }),
  routeOf('wildcard', { host: '*.tools.svc', path: '/mcp' }),
  routeOf('docs', { path: '/docs' }),
  routeOf('read', { host: '127.0.0.1', path: '/read', conditions }),
]);

test('the log says of a refused request what no route has: its host, its path, or what else it is', () => {
  const cases: [url: string, hosts: string[], says: RegExp][] = [
    ['/github', ['localhost:8180'], /^no route names its host, and none without a host has its path$/],
    ['/github', [], /^no route names its host/],
    ['/gihtub', ['127.0.0.1:8180'], /^routes have its host, and none its path$/],
    ['/other', ['any.tools.svc'], /^routes have its host, and none its path$/],
    ['/read', ['127.0.0.1'], /^the routes of its host and path take another method or message/],
    ['/github//..;/read', ['127.0.0.1'], /^the path of the request is none, or could climb out of a prefix$/],
    ['/github/%2e%2e/read', ['127.0.0.1'], /^the path of the request is none, or could climb out of a prefix$/],
    ['/docs;x/..', ['127.0.0.1'], /^the path of the request is none/],
  ];
  for (const [url, hosts, says] of cases) assert.match(whyNone(parseRequestTarget(url, hosts), table), says, url);
});
