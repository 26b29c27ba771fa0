import type { RequestTarget } from './request-target.ts';
import type { RouteTable } from './route-table.ts';

/**
 * Explains why no route matches a request. The text is for the log and contains neither host nor path of the request. Its cost
 * does not grow with the number of routes; `explain` gives the reason for each route.
 */
export function whyNoRoute(target: RequestTarget, table: RouteTable): string {
  const { host, path } = target;
  if (path === undefined) return 'the request path is invalid or contains dot segments';
  if (table.candidates(target).length > 0) {
    return 'the routes with its host and path want another method or message, or some servers read its path or name differently';
  }
  if (host !== undefined && table.namesHost(host)) return 'no route with its host has its path';
  return 'no route has its host, and no route without a host has its path';
}
