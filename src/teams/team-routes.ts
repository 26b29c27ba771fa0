import * as z from 'zod';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { checkAgents, refuseSharedHeaders } from '../config/check-routes.ts';
import { schemaOf } from '../config/key.ts';
import { hostMatches } from '../config/match.ts';
import { ROUTE, type RouteDraft, resolveRoute, type WrittenRoute } from '../config/resolve-route.ts';
import type { Route, TokenTarget } from '../config/route.ts';
import type { RouteKeys } from '../config/route-keys.ts';
import type { Sources } from '../config/sources.ts';
import { type Grants, isInside, type OriginPattern, type TeamContext } from '../config/teams.ts';
import { canonicalUri, readHttpUrl } from '../config/urls.ts';
import type { ConfigNode } from '../documents/config-node.ts';
import { plainPath } from '../request-paths.ts';

/** The keys that a route of a team may have. Each is bounded by the entry, or concerns the route alone. */
const ALLOWED = [
  ...(['name', 'match', 'upstream', 'authorization_server', 'credential', 'secret', 'send', 'resource'] as const),
  ...(['audience', 'scope', 'expect_audience', 'actor_token', 'on_missing_subject', 'unattended', 'agents'] as const),
  ...(['timeouts', 'step_up', 'allowed_origins', 'tls', 'allow_insecure_http'] as const),
];

/** The keys that a team takes from `defaults`. All others have their usual default. */
const INHERITED = [
  ...(['subjectToken', 'actorToken', 'requestedTokenType', 'agents', 'tls', 'timeouts'] as const),
  'retryBodyLimitBytes',
] as const satisfies readonly (keyof RouteKeys)[];

const routeSchema = schemaOf(Object.fromEntries(ALLOWED.map((name) => [name, ROUTE[name]])));

/** Schema of a team's file. */
export const teamSchema = z.strictObject({ routes: z.array(routeSchema) });
export interface WrittenTeamFile {
  readonly routes?: readonly (WrittenRoute | undefined)[] | undefined;
}

/** A key of a route, also one that only the main file may have. */
export function isOfRoute(key: string): boolean {
  return Object.hasOwn(ROUTE, key);
}

/** Reads the routes of a file, and reports what the entry does not grant. */
export function resolveTeamRoutes(
  file: WrittenTeamFile,
  root: ConfigNode,
  grants: Grants,
  sources: Sources,
  { read, usual, ...main }: TeamContext,
): RouteDraft[] {
  const servers = new Map<string, AuthorizationServer | undefined>(
    grants.authorizationServers.map((name) => [name, main.scope.servers.get(name)]),
  );
  const context = {
    ...main,
    defaults: defaultsOf(main.defaults, usual, grants, servers),
    scope: { ...main.scope, servers, sources },
  };
  const drafts = (file.routes ?? []).flatMap((written, index) => {
    if (written === undefined) return [];
    const node = root.at('routes', index);
    const draft = resolveRoute(written, node, context);
    if (draft.match !== undefined) checkRegion(draft.match, grants, node);
    if (draft.route !== undefined) checkGrants(written, draft.route, grants, context.defaults.agents, node);
    const { route } = draft;
    if (route === undefined) return [draft];
    const tls =
      written.tls === undefined || route.tls === undefined ? route.tls : { ...route.tls, within: grants.files };
    return [{ ...draft, route: { ...route, name: `${grants.name}/${route.name}`, team: grants.name, tls } }];
  });
  checkAgents(read, drafts);
  refuseSharedHeaders({}, read, drafts, main.defaults.subjectToken?.header, root);
  return drafts;
}

function defaultsOf(
  defaults: RouteKeys,
  usual: RouteKeys,
  { agents, credentials }: Grants,
  servers: ReadonlyMap<string, unknown>,
): RouteKeys {
  const { authorizationServer: server, credential } = defaults;
  return {
    ...usual,
    ...Object.fromEntries(INHERITED.map((name) => [name, defaults[name]])),
    ...(agents.length > 0 && { agents: [...agents] }),
    credential: [credential, ...credentials].find((each) => credentials.includes(each)) ?? credential,
    authorizationServer: server !== undefined && servers.has(server) ? server : undefined,
  };
}

function checkRegion({ host, path }: Route['match'], grants: Grants, node: ConfigNode): void {
  const isGranted = host === undefined || grants.hosts.length > 0;
  if (!isGranted || !isInside(grants, host, path) || plainPath(path) !== undefined) {
    const region = [...grants.hosts.map((each) => `host ${each}`), ...grants.paths.map((each) => `path ${each}`)];
    node.at('match').error(notGranted('is outside the region', grants, region));
  }
}

const MAX_SHOWN = 5;

function notGranted(what: string, { name }: Grants, granted: readonly string[]): string {
  const shown = [...granted.slice(0, MAX_SHOWN), ...(granted.length > MAX_SHOWN ? ['…'] : [])].join(', ');
  return `${what} of routes_from "${name}" (${shown || 'none'}): change it, or let the operator grant it`;
}

/** @param known the agents that the routes may serve. Empty: all */
function checkGrants(
  written: WrittenRoute,
  route: Route,
  grants: Grants,
  known: readonly string[],
  node: ConfigNode,
): void {
  const { credential, upstream, agents, stepUp, subjectToken } = route;
  const refuse: Refuse = (key, what, granted) =>
    node.at(key).error(notGranted(what, grants, granted), written[key] === undefined ? 'value' : 'key');
  if (!hasOrigin(grants.upstreams, upstream.origin)) {
    refuse('upstream', 'is not in upstreams', grants.upstreams.map(originText));
  }
  const needs = new Set([credential.kind, ...(route.unattended === undefined ? [] : [route.unattended])]);
  if (credential.kind === 'exchange') {
    // A token of cambist's own in place of the caller's makes an issued one of its own.
    if (credential.onMissingSubject !== 'deny' || subjectToken.own !== undefined) needs.add('client_credentials');
    if (written.actor_token?.from !== undefined) {
      refuse('actor_token', 'takes a token that is not in files', grants.files);
    }
  }
  for (const kind of needs) {
    if (!grants.credentials.includes(kind)) {
      refuse('credential', `needs "${kind}", which is not in credentials`, grants.credentials);
    }
  }
  if (stepUp.some((scope) => !grants.scopes.includes(scope))) refuse('step_up', 'is not in scopes', grants.scopes);
  // A route without agents serves all of them.
  const isBounded = known.length === 0 || (agents.length > 0 && agents.every((each) => known.includes(each)));
  if (!isBounded) refuse('agents', 'is not in agents', known);
  if (!('authorizationServer' in credential)) return;
  const { target, authorizationServer: server } = credential;
  checkTarget(written, target, canonicalUri(upstream), grants, refuse);
  const { resource, audience, scope } = target;
  // A token that names no backend would be for one of the server's choice.
  if (resource.length + audience.length === 0 && (server.grant !== 'jwt_bearer' || scope === undefined)) {
    node.at('resource').error('names no backend, nor does audience: name one that the entry grants');
  }
}

type Refuse = (key: keyof WrittenRoute, what: string, granted: readonly string[]) => void;

/** Bounds the token. The upstream's own URI needs no grant. */
function checkTarget(
  written: WrittenRoute,
  { resource, audience, scope, expectAudience }: TokenTarget,
  uri: string,
  grants: Grants,
  refuse: Refuse,
): void {
  const isResource = (value: string) => value === uri || hasOrigin(grants.resources, value);
  const isAudience = (value: string) => grants.audiences.includes(value);
  const resources = [uri, ...grants.resources.map(originText)];
  const isGranted = resource.every(isResource) && audience.every(isAudience);
  if (!resource.every(isResource)) refuse('resource', 'is not in resources', resources);
  if (!audience.every(isAudience)) refuse('audience', 'is not in audiences', grants.audiences);
  if (scope?.split(' ').some((each) => !grants.scopes.includes(each))) {
    refuse('scope', 'is not in scopes', grants.scopes);
  }
  const expected = expectAudience === 'any' ? ['any'] : 'only' in expectAudience ? expectAudience.only : expectAudience;
  const isExpected = expectAudience !== 'any' && expected.every((each) => isResource(each) || isAudience(each));
  // Without the key, those of audience and resource are expected, which were refused above.
  if (!isExpected && (isGranted || written.expect_audience !== undefined)) {
    refuse('expect_audience', 'is not in audiences or resources', [...grants.audiences, ...resources]);
  }
}

function originText({ protocol, host, port }: OriginPattern): string {
  return `${protocol}//${host}${port === '' ? '' : `:${port}`}`;
}

/** Does a pattern contain the origin of a URL? */
function hasOrigin(patterns: readonly OriginPattern[], text: string): boolean {
  const url = readHttpUrl(text, { allowInsecureHttp: true, allowQuery: true });
  if ('problem' in url) return false;
  const { protocol, hostname, port } = new URL(url.value.origin);
  return patterns.some((each) => each.protocol === protocol && each.port === port && hostMatches(each.host, hostname));
}
