import type { Config } from '../config/config.ts';
import type { Route } from '../config/route.ts';
import { withoutBrackets } from '../host-names.ts';
import { nameConstraintsOf, permitsHost } from '../transport/certificates.ts';

/** The hosts that routes match, and those of teams, as certificates name them: addresses without brackets. */
export function interceptedHosts({ routes, teams }: Pick<Config, 'routes' | 'teams'>): string[] {
  const hosts = routes.map(({ match }) => match.host).filter((host) => host !== undefined);
  return [...new Set([...hosts, ...teams.flatMap(({ grants }) => grants.hosts)].map(withoutBrackets))];
}

/**
 * The routes whose host an authority may not sign for.
 * @param authority PEM
 */
export function excludedRoutes(authority: string, routes: readonly Route[]): Route[] {
  const constraints = nameConstraintsOf(authority);
  if (constraints === undefined) return [];
  return routes.filter(
    ({ match }) => match.host !== undefined && !permitsHost(constraints, withoutBrackets(match.host)),
  );
}
