import type { Route } from '../config/config.ts';
import type { RequestTarget } from './request-target.ts';

/**
 * Returns the path and query for the upstream. The upstream's path replaces the matched prefix, and the rest stays as received.
 * Scheme and host come from the route, never from the request.
 */
export function upstreamPath(route: Route, target: RequestTarget): string {
  const { match, upstream } = route;
  const path = target.path ?? '/';
  // A route for all paths maps its own root to the upstream's path, without the request's slash at the end.
  const rest = match.path === '/' ? (path === '/' ? '' : path) : path.slice(match.path.length);
  const base = rest.startsWith('/') && upstream.path.endsWith('/') ? upstream.path.slice(0, -1) : upstream.path;
  const joined = base + rest;
  return (joined === '' ? '/' : joined) + target.query;
}
