import assert from 'node:assert/strict';
import { parseRequestTarget, upstreamPath } from '../../../src/routing/request-target.ts';
import { createRouteTable } from '../../../src/routing/route-table.ts';
import { routeOf } from '../../unit/routing/sample-routes.ts';

const OPEN = routeOf('open', { path: '/open' }, { path: '/base' });
const SECRET = routeOf('secret', { path: '/secret' }, { path: '/hidden' });
const TABLE = createRouteTable([OPEN, SECRET]);

/** Input: request target, `Host` and `host_header`, a line each. */
export function fuzz(data: Buffer): void {
  const [url = '', host = '', named] = data.toString('latin1').split('\n');
  const target = parseRequestTarget(url, [host], named === undefined ? [] : [named]);
  const { path, query } = target;
  if (target.host !== undefined) {
    assert.match(target.host, /^[^@]+$/);
    assert.equal(target.host, target.host.toLowerCase());
    assert.ok(target.host.length <= 260);
  }
  assert.ok(query === '' || query.startsWith('?'));
  if (path === undefined) {
    assert.equal(TABLE.match(target), undefined, 'an invalid path has a route');
    return;
  }
  assert.ok(path.startsWith('/'));
  // Reading it again changes nothing.
  const again = parseRequestTarget(path + query, [target.host ?? '']);
  assert.equal(again.path, path);
  assert.equal(again.query, query);
  checkRoute(target.plainPath ?? path, path, TABLE.match(target)?.name);
  // As browsers and Node read it: no segment disappears.
  const { pathname } = new URL(`http://h${path}`);
  assert.ok(count(pathname) >= count(path), `a URL parser shortens ${path} to ${pathname}`);
  const route = TABLE.match(target);
  if (route === undefined) return;
  const sent = upstreamPath(route, target);
  assert.ok(
    sent.startsWith(route.upstream.path) && !/[\s\0]/.test(sent.replace(query, '')),
    'the path leaves its base',
  );
}

/** No spelling of a path has the route of another path. */
function checkRoute(plain: string, path: string, route: string | undefined): void {
  for (const candidate of [path, plain, decode(path)]) {
    const isSecret = /^\/secret(?:\/|$)/.test(candidate);
    if (isSecret) assert.ok(route !== 'open', `${path} has route "open"`);
    if (/^\/open(?:\/|$)/.test(candidate)) assert.ok(route !== 'secret', `${path} has route "secret"`);
  }
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path).replaceAll('\\', '/').replace(/\/+/g, '/');
  } catch {
    return path;
  }
}

function count(path: string): number {
  return path.split('/').length;
}
