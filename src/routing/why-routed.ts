import { type Conditions, hostMatches, type Match, pathMatches } from '../config/match.ts';
import type { Route } from '../config/route.ts';
import { type KnownFacts, NO_MESSAGE } from './conditions.ts';
import type { RequestTarget } from './request-target.ts';
import type { RouteTable } from './route-table.ts';

/**
 * Explains why a request does not take a route. For `explain`, which calls it for each route.
 * @param taken the route that the request takes, if any
 */
export function whyNot(
  route: Route,
  target: RequestTarget,
  taken: Route | undefined,
  facts: KnownFacts = NO_MESSAGE,
): string {
  const { host, path, conditions } = route.match;
  if (target.path === undefined) return 'the request path is invalid or contains dot segments';
  if (host !== undefined && !hostMatches(host, target.host)) {
    return target.host === undefined ? `it wants the host ${host}` : `its host ${host} is not ${target.host}`;
  }
  if (!pathMatches(path, target.path)) return `its path ${path} is not a prefix of ${target.path} in whole segments`;
  const unmet = conditions === undefined ? undefined : unmetCondition(conditions, facts);
  if (unmet !== undefined) return unmet;
  if (taken === undefined) return 'some servers read the request path or the MCP name as one that has other routes';
  const other = taken.match;
  if (hostRank(other.host) !== hostRank(host)) return `the host of "${taken.name}" is more specific`;
  return other.path === path
    ? `the conditions of "${taken.name}" are more specific`
    : `the path of "${taken.name}" is longer`;
}

function unmetCondition({ methods, mcpMethods, mcpNames }: Conditions, facts: KnownFacts): string | undefined {
  const { method, message } = facts;
  if (methods !== undefined && !methods.includes(method)) return `it wants the method ${methods.join(', ')}`;
  if (mcpMethods !== undefined && !matchesPattern(mcpMethods, message?.method)) {
    return `it wants the MCP method ${mcpMethods.join(', ')}, and the request has ${message?.method ?? 'none'}`;
  }
  if (mcpNames !== undefined && !matchesPattern(mcpNames, message?.name)) {
    return `it wants the MCP name ${mcpNames.join(', ')}, and the request has ${message?.name ?? 'none'}`;
  }
  return undefined;
}

function matchesPattern(patterns: readonly string[], value: string | undefined): boolean {
  if (value === undefined) return false;
  return patterns.some((pattern) =>
    pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern,
  );
}

/** An exact host ranks above a wildcard, a longer wildcard above a shorter one, and any host above none. */
export function hostRank(host: string | undefined): number {
  if (host === undefined) return 0;
  return host.startsWith('*.') ? host.length : Number.MAX_SAFE_INTEGER;
}

/** The conditions of a route, which a request met. They are from the config, and nothing in them is from the request. */
export function whyMatched({ host, path, conditions }: Match): string {
  const { methods, mcpMethods, mcpNames } = conditions ?? {};
  return [
    host === undefined ? 'any host' : `host ${host}`,
    `path ${path}`,
    ...(methods === undefined ? [] : [`method ${methods.join(' or ')}`]),
    ...(mcpMethods === undefined ? [] : [`MCP method ${mcpMethods.join(' or ')}`]),
    ...(mcpNames === undefined ? [] : [`MCP name ${mcpNames.join(' or ')}`]),
  ].join(', ');
}

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
  const owner = table.ownerOf(target);
  if (owner !== undefined) return `it is in the region of "${owner}", none of whose routes has its host and path`;
  if (host !== undefined && table.namesHost(host)) return 'no route with its host has its path';
  return 'no route has its host, and no route without a host has its path';
}
