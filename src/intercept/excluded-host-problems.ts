import type { Config } from '../config/config.ts';
import { readDocument } from '../config/document.ts';
import type { Intercept } from '../config/intercept.ts';
import type { Problem } from '../config/problem.ts';
import { excludedRoutes, trustedAuthority } from './hosts.ts';

/** Warns of hosts that the authority in use may not sign for. @param text of the config file */
export async function excludedHostProblems(
  { routes }: Config,
  intercept: Intercept,
  text: string,
  file: string,
): Promise<readonly Problem[]> {
  const authority = await trustedAuthority(intercept);
  if (authority === undefined) return [];
  const { problems } = readDocument(text, file);
  for (const route of excludedRoutes(authority, routes)) {
    problems.root
      .at('routes', routes.indexOf(route), 'match', 'host')
      .warn('is excluded by the name constraints of the authority that agents trust now: restart the pod');
  }
  return problems.sorted();
}
