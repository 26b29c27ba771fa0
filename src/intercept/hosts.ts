import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withoutBrackets } from '../config/addresses.ts';
import { TRUST_FILES } from '../config/agent-variables.ts';
import type { Config } from '../config/config.ts';
import type { Problem } from '../config/config-node.ts';
import { readDocument } from '../config/document.ts';
import type { Intercept } from '../config/intercept.ts';
import type { Route } from '../config/route.ts';
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

/** Warns of hosts that the authority that agents of this machine trust now may not sign for. @param text of the config file */
export async function excludedHostProblems(
  { routes }: Config,
  { ca, trustDir }: Intercept,
  text: string,
  file: string,
): Promise<readonly Problem[]> {
  const trusted = ca.kind === 'files' ? ca.certificate : join(trustDir, TRUST_FILES.authority);
  const authority = await readFile(trusted, 'utf8').catch(() => undefined);
  if (authority === undefined) return [];
  const { problems } = readDocument(text, file);
  for (const route of excludedRoutes(authority, routes)) {
    problems.root
      .at('routes', routes.indexOf(route), 'match', 'host')
      .warn('is excluded by the name constraints of the authority that agents trust now: restart the pod');
  }
  return problems.sorted();
}
