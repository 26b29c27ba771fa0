import type { Route } from '../config/config.ts';
import type { RequestTarget } from './request-target.ts';

/**
 * Why a route is not the one that a request takes; for `explain`, which asks it of each.
 * @param taken the route that the request does take
 */
export function whyNot(route: Route, target: RequestTarget, taken: Route | undefined): string {
  const { host, path } = route.match;
  if (target.path === undefined) return 'the path of the request is none, or could climb out of a prefix';
  if (host !== undefined && !hostMatches(host, target.host)) {
    return target.host === undefined ? `it wants the host ${host}` : `its host ${host} is not ${target.host}`;
  }
  if (!pathMatches(path, target.path)) return `its path ${path} is no whole-segment prefix of ${target.path}`;
  const other = taken?.match;
  if (other !== undefined && hostRank(other.host) !== hostRank(host)) {
    return `the host of "${taken?.name}" is more exact`;
  }
  return `the path of "${taken?.name}" is longer`;
}

function hostMatches(pattern: string, host: string | undefined): boolean {
  if (host === undefined) return false;
  if (!pattern.startsWith('*.')) return host === pattern;
  return host.length > pattern.length - 1 && host.endsWith(pattern.slice(1));
}

function pathMatches(prefix: string, path: string): boolean {
  return prefix === '/' || path === prefix || path.startsWith(`${prefix}/`);
}

/** Exact before wildcard before none; a longer wildcard before a shorter. */
function hostRank(host: string | undefined): number {
  if (host === undefined) return 0;
  return host.startsWith('*.') ? host.length : Number.POSITIVE_INFINITY;
}
