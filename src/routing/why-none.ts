import type { RequestTarget } from './request-target.ts';
import type { RouteTable } from './route-table.ts';

/**
 * Why no route takes a request; for the log, which shows neither host nor path of a caller's. Like the match itself its cost
 * does not grow with the number of routes; `explain` says it of each.
 */
export function whyNone(target: RequestTarget, table: RouteTable): string {
  const { host, path } = target;
  if (path === undefined) return 'the path of the request is none, or could climb out of a prefix';
  if (table.candidates(target).length > 0) {
    return 'the routes of its host and path take another method or message, or some servers would read its path as another';
  }
  if (host !== undefined && table.namesHost(host)) return 'routes have its host, and none its path';
  return 'no route names its host, and none without a host has its path';
}
