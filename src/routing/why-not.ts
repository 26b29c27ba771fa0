import type { Conditions, Route } from '../config/config.ts';
import { type KnownFacts, NO_MESSAGE } from './request-facts.ts';
import type { RequestTarget } from './request-target.ts';

/**
 * Why a route is not the one that a request takes; for `explain`, which asks it of each.
 * @param taken the route that the request does take
 */
export function whyNot(
  route: Route,
  target: RequestTarget,
  taken: Route | undefined,
  facts: KnownFacts = NO_MESSAGE,
): string {
  const { host, path, conditions } = route.match;
  if (target.path === undefined) return 'the path of the request is none, or could climb out of a prefix';
  if (host !== undefined && !hostMatches(host, target.host)) {
    return target.host === undefined ? `it wants the host ${host}` : `its host ${host} is not ${target.host}`;
  }
  if (!pathMatches(path, target.path)) return `its path ${path} is no whole-segment prefix of ${target.path}`;
  const unmet = conditions === undefined ? undefined : unmetCondition(conditions, facts);
  if (unmet !== undefined) return unmet;
  if (taken === undefined) return 'some servers would read the path of the request as another, which has other routes';
  const other = taken.match;
  if (hostRank(other.host) !== hostRank(host)) {
    return `the host of "${taken.name}" is more exact`;
  }
  if (other.path === path) return `the conditions of "${taken.name}" are more exact`;
  return `the path of "${taken.name}" is longer`;
}

function unmetCondition({ methods, mcpMethods, mcpNames }: Conditions, facts: KnownFacts): string | undefined {
  const { method, message } = facts;
  if (methods !== undefined && !methods.includes(method)) return `it wants the method ${methods.join(', ')}`;
  if (mcpMethods !== undefined && !fits(mcpMethods, message?.method)) {
    return `it wants the MCP method ${mcpMethods.join(', ')}, and the request's is ${message?.method ?? 'none'}`;
  }
  if (mcpNames !== undefined && !fits(mcpNames, message?.name)) {
    return `it wants the MCP name ${mcpNames.join(', ')}, and the request's is ${message?.name ?? 'none'}`;
  }
  return undefined;
}

function fits(patterns: readonly string[], value: string | undefined): boolean {
  if (value === undefined) return false;
  return patterns.some((pattern) =>
    pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern,
  );
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
