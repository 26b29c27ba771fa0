import type { Route } from '../config/config.ts';
import type { RequestTarget } from './request-target.ts';

/**
 * The path and query that go upstream: the upstream's path in place of the matched prefix, the rest as it came. Scheme and
 * host are the route's and never the request's.
 */
export function upstreamPath(route: Route, target: RequestTarget): string {
  const { match, upstream } = route;
  const path = target.path ?? '/';
  // A route for all paths maps its own root to the upstream's path itself, without a slash of the request's at its end.
  const rest = match.path === '/' ? (path === '/' ? '' : path) : path.slice(match.path.length);
  const base = rest.startsWith('/') && upstream.path.endsWith('/') ? upstream.path.slice(0, -1) : upstream.path;
  const joined = base + rest;
  return (joined === '' ? '/' : joined) + target.query;
}
