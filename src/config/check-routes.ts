import { type ConfigNode, formatPath } from '../documents/config-node.ts';
import { describedPath, plainPath } from '../request-paths.ts';
import type { AgentTokens } from './agents.ts';
import type { ConfigFile } from './config.ts';
import { combinationsOf } from './match.ts';
import type { RouteDraft } from './resolve-route.ts';
import { type SubjectTokenSource, sendsAgentToken } from './route.ts';
import { type Grants, type HeaderOwners, isInside } from './teams.ts';
import { DEFAULT_SUBJECT_HEADER } from './verification.ts';

/** Refuses a header with more than one role. @param defaultSubject header of the subject token from `defaults` */
export function refuseSharedHeaders(
  file: ConfigFile,
  { session, hostHeader, agents }: HeaderOwners,
  drafts: readonly RouteDraft[],
  defaultSubject: string | undefined,
  root: ConfigNode,
): void {
  const token = root.at('agents', 'token');
  const roles = [
    { role: 'session', header: session?.header, node: root.at('session', 'header') },
    { role: 'host', header: hostHeader, node: root.at('host_header') },
    ...(agents?.token ?? []).map(({ header }, index) => {
      const node = Array.isArray(file.agents?.token) ? token.at(index, 'header') : token.at('header');
      return { role: 'agent', header, node };
    }),
    { role: 'agent', header: agents?.forwarded?.header, node: root.at('agents', 'forwarded', 'header') },
  ];
  const ofRoutes = [
    { name: defaultSubject, node: root.at('defaults', 'subject_token', 'header') },
    ...drafts.flatMap(({ subjectHeader, route, node }) => [
      { name: subjectHeader, node: node.at('subject_token', 'header') },
      { name: route?.send?.header.toLowerCase(), node: node.at('send') },
    ]),
  ];
  if (hostHeader !== undefined && hostHeader === session?.header) {
    root.at('host_header').error('is also the session header: use another header');
  }
  for (const { role, header, node } of roles) {
    if (header === undefined) continue;
    // The built-in default has no position in the file, so the other header is reported.
    if (defaultSubject === undefined && header === DEFAULT_SUBJECT_HEADER) {
      node.error('is already the subject token header: use another header');
    }
    for (const other of ofRoutes) {
      if (other.name === header && !other.node.broken)
        other.node.error(`is also the ${role} header: use another header`);
    }
  }
}

/** Reports routes that refer to agents or their tokens without any. */
export function checkAgents({ agents }: HeaderOwners, drafts: readonly RouteDraft[]): void {
  const known = agents?.known.map(({ name }) => name) ?? [];
  for (const { route, node } of drafts) {
    for (const [index, name] of (route?.agents ?? []).entries()) {
      if (known.includes(name) || node.at('agents').broken) continue;
      const fix = known.length === 0 ? 'name it under agents.known' : `known agents are ${known.join(', ')}`;
      node.at('agents', index).error(`unknown agent: ${fix}`);
    }
    if (route !== undefined && sendsAgentToken(route) && agents?.token === undefined) {
      node.at('actor_token').error('needs the token of an agent: set agents.token, or file instead of from');
    }
    if (route !== undefined && agents?.token?.some((token) => coversCallers(token, route.subjectToken))) {
      const why =
        'accepts only tokens with the issuer and audience of agents.token, so every caller would be refused as an agent: use another audience here or there';
      node.at('subject_token', 'verify').error(why);
    }
  }
}

/** Tells whether each verified token of a caller counts as one of an agent. By introspection, an opaque token may pass. */
function coversCallers({ issuer, audience }: AgentTokens, { own, verify }: SubjectTokenSource): boolean {
  if (own !== undefined || verify?.issuer !== issuer || verify.introspection !== undefined) return false;
  return verify.audience !== 'any' && verify.audience.every((each) => audience.includes(each));
}

function placeOf({ node, file }: RouteDraft, ...below: string[]): string {
  return (file === undefined ? '' : `${file}: `) + formatPath([...node.path, ...below]);
}

export function refuseSameNames(drafts: readonly RouteDraft[]) {
  const first = new Map<string, RouteDraft>();
  for (const draft of drafts) {
    if (draft.name === undefined) continue;
    const earlier = first.get(draft.name);
    if (earlier === undefined) first.set(draft.name, draft);
    else draft.node.at('name').error(`is also the name of ${placeOf(earlier)}: choose another name`);
  }
}

export function refuseTies(drafts: readonly RouteDraft[]) {
  const first = new Map<string, RouteDraft>();
  for (const draft of drafts) {
    if (draft.match === undefined) continue;
    let earlier: RouteDraft | undefined;
    for (const combination of combinationsOf(draft.match)) {
      earlier ??= first.get(combination);
      if (!first.has(combination)) first.set(combination, draft);
    }
    if (earlier === undefined) continue;
    const other = placeOf(earlier, 'match');
    const why = `matches the same requests as ${other}: change the host, the path or a condition of one`;
    draft.node.at('match').error(why);
  }
}

/** Reports routes inside the regions of teams, names that both have, and agents that a team is granted and that are unknown. */
export function checkTeams(
  teams: readonly Grants[],
  { agents }: HeaderOwners,
  drafts: readonly RouteDraft[],
  root: ConfigNode,
): void {
  const known = new Set(agents?.known.map(({ name }) => name));
  for (const [index, team] of teams.entries()) {
    for (const [at, name] of team.agents.entries()) {
      const node = root.at('routes_from', index, 'agents', at);
      if (!known.has(name) && !root.at('agents').broken && !root.at('routes_from').broken)
        node.error('unknown agent: name it under agents.known');
    }
  }
  for (const { node, name, match } of drafts) {
    if (teams.some((team) => team.name === name)) {
      node.at('name').error('is also the name of an entry of routes_from: choose another name');
    }
    if (match === undefined) continue;
    const paths = [match.path, plainPath(match.path), describedPath(match.path)].filter((path) => path !== undefined);
    const owner = teams.find((team) => paths.some((path) => isInside(team, match.host, path)));
    if (owner === undefined) continue;
    node.at('match').error(`is inside the region of "${owner.name}" in routes_from: move the route, or the region`);
  }
}
