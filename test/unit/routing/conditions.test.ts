import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Conditions, Match } from '../../../src/config/match.ts';
import type { McpMessage } from '../../../src/routing/conditions.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { routeOf } from './sample-routes.ts';

const NONE: Conditions = { methods: undefined, mcpMethods: undefined, mcpNames: undefined };
const conditional = (name: string, conditions: Partial<Conditions>, match: Partial<Match> = {}) =>
  routeOf(name, { path: '/mcp', ...match, conditions: { ...NONE, ...conditions } });
const plain = routeOf('plain', { path: '/mcp' });
const target = { host: 'h', path: '/mcp', query: '' };

function taken(routes: ReturnType<typeof routeOf>[], message: McpMessage | undefined, method = 'POST', to = target) {
  return createRouteTable(routes).match(to, { method, message })?.name;
}

const call = (name: string): McpMessage => ({ method: 'tools/call', name });

test('prefers a route whose conditions match over the route without conditions', () => {
  const routes = [
    plain,
    conditional('get', { methods: ['GET', 'HEAD'] }),
    conditional('call', { mcpMethods: ['tools/call'] }),
  ];
  assert.equal(taken(routes, undefined, 'GET'), 'get');
  assert.equal(taken(routes, undefined, 'HEAD'), 'get');
  assert.equal(taken(routes, call('x')), 'call');
  assert.equal(taken(routes, { method: 'tools/list', name: undefined }), 'plain');
  assert.equal(taken(routes, { method: undefined, name: undefined }), 'plain');
  assert.equal(taken(routes, undefined, 'DELETE'), 'plain');
  assert.equal(taken(routes, undefined, 'get'), 'plain');
});

test('refuses a name that a lenient server reads as the name of another route', () => {
  const routes = [
    plain,
    conditional('delete', { mcpNames: ['delete', 'résumé™'] }),
    conditional('write', { mcpNames: ['write_*', 'ｄｏ'] }),
  ];
  for (const name of ['ｄelete', 'del\u200bete', 'delete\ud800', '\udc00delete', 'dele\u00adte\ufe0f', 'write\u2060_x'])
    assert.equal(taken(routes, call(name)), undefined, name);
  assert.equal(taken(routes, call('é'.repeat(1025))), undefined);
  for (const [name, route] of [
    ['ｄｏ', 'write'],
    ['résumé™', 'delete'],
    ['write_ｄelete', 'write'],
    ['検索（高度）', 'plain'],
    ['👩\u200d💻', 'plain'],
    ['DELETE', 'plain'],
  ] as const)
    assert.equal(taken(routes, call(name)), route, name);
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
  for (const [host, named] of [
    ['a.svc', true],
    ['x.tools.svc', true],
    ['x.y.tools.svc', true],
    ['tools.svc', false],
    ['b.svc', false],
    ['x.a.svc', false],
  ] as const) {
    assert.equal(table.namesHost(host), named, host);
  }
});
