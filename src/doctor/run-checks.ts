import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Config } from '../config/config.ts';
import type { Introspection, Route, SubjectVerification } from '../config/route.ts';
import { signallingServers } from '../config/used-servers.ts';
import { keySourceOf } from '../tokens/subject-check.ts';
import { checkAgent } from './check-agent.ts';
import { checkAudit } from './check-audit.ts';
import { checkBackend } from './check-backend.ts';
import type { CheckContext } from './check-context.ts';
import { checkIntrospection } from './check-introspection.ts';
import { checkKeys } from './check-keys.ts';
import { checkRoute, type Prerequisites, serversOf } from './check-route.ts';
import { checkServer, rolesOf, type ServerHealth } from './check-server.ts';
import { checkSharedCache, serversOf as storeServersOf } from './check-shared-cache.ts';
import { missingSubject, readRouteSubject, type SubjectTokenInput, usesCallerToken } from './check-subject.ts';
import { checkTransmitter } from './check-transmitter.ts';
import type { Component, Finding } from './finding.ts';
import type { UsableKey } from './key-set.ts';

/** Receives each step as it is taken. */
export interface Reporter {
  /** Starts the findings on a component. @param title as in `route "github": https://…` */
  section(component: Component, title: string): void;
  finding(component: Component, finding: Finding): void;
}

export interface CheckOptions {
  readonly config: Config;
  /** Checks this route and its servers only. */
  readonly only: Route | undefined;
  /** The subject token for routes that exchange their caller's. */
  readonly input: SubjectTokenInput | undefined;
  /** Calls each backend with the issued token. */
  readonly call: boolean;
  readonly context: CheckContext;
  readonly reporter: Reporter;
}

/**
 * Checks each authorization server, the keys of each issuer of verified subject tokens, the caller's token, and each route with
 * its backend. The checks run one by one, except for backends, because several of them may be slow.
 */
export async function runChecks({ config, only, input, call, context, reporter }: CheckOptions): Promise<void> {
  const routes = only === undefined ? config.routes : [only];
  const backends = new Map(routes.map((route) => [route, checkBackend(route, context.pool)]));
  const begin = (component: Component, title: string) => {
    reporter.section(component, title);
    return (finding: Finding) => reporter.finding(component, finding);
  };
  const roles = rolesOf(routes);
  const servers = new Map<AuthorizationServer, ServerHealth>();
  for (const server of only === undefined ? config.authorizationServers : roles.keys()) {
    const title = `authorization server "${server.name}": ${server.issuer ?? server.tokenEndpoint}`;
    const found = begin({ kind: 'authorization_server', name: server.name }, title);
    const ofSignals = signallingServers(config).includes(server) ? 'client_credentials' : undefined;
    servers.set(server, await checkServer(server, roles.get(server) ?? ofSignals, context, found));
  }
  const keys = new Map<string, readonly UsableKey[]>();
  const callers = only === undefined ? config.inbound?.verify : undefined;
  for (const [source, rules] of verificationsOf(routes, callers)) {
    const { issuer } = rules;
    const found = begin({ kind: 'issuer', name: issuer }, `keys of issuer "${issuer}", which verify subject tokens`);
    const usable = await checkKeys(rules, config.authorizationServers, context, found);
    if (usable !== undefined) keys.set(source, usable);
  }
  for (const transmitter of only === undefined ? (config.signals?.transmitters ?? []) : []) {
    const { name, issuer } = transmitter;
    const found = begin(
      { kind: 'issuer', name: issuer },
      `transmitter "${name}", and the keys that verify its signals`,
    );
    const rules = { ...transmitter, allowInsecureHttp: false };
    await checkKeys(rules, config.authorizationServers, context, found, `signals.transmitters.${name}`);
    await checkTransmitter(transmitter, context, found);
  }
  for (const [source, rules, introspection] of introspectionsOf(routes, callers)) {
    const { name } = introspection.authorizationServer;
    const found = begin({ kind: 'issuer', name: rules.issuer }, `introspection at authorization server "${name}"`);
    const works = await checkIntrospection(rules, introspection, context, found);
    if (!works) keys.delete(source);
    else if (rules.jwksUri === undefined) keys.set(source, []);
  }
  const exchanging = routes.filter(
    (route) =>
      usesCallerToken(route) && serversOf(route.credential).every((server) => servers.get(server)?.usable === true),
  );
  const subject = await checkCallerToken(exchanging, input, context, begin);
  for (const [route, backend] of backends) {
    const title = `route "${route.name}": ${route.upstream.origin}${route.upstream.path}`;
    const found = begin({ kind: 'route', name: route.name }, title);
    for (const finding of await backend) found(finding);
    await checkRoute(route, { servers, keys, subject, call }, context, found);
  }
  if (config.inbound !== undefined && only === undefined) {
    await checkAgent(
      config.inbound,
      begin({ kind: 'agent', name: '' }, 'agent, which callers reach through inbound.listen'),
    );
  }
  const { shared } = config.cache;
  if (shared !== undefined && only === undefined) {
    const title = `shared cache: ${storeServersOf(shared)}`;
    await checkSharedCache(shared, config.signals !== undefined, begin({ kind: 'shared_cache', name: '' }, title));
  }
  if (config.audit !== undefined && only === undefined) {
    await checkAudit(config.audit, begin({ kind: 'audit', name: '' }, 'audit trail'));
  }
}

/** Checks the caller's token once. @param routes those that exchange it */
async function checkCallerToken(
  routes: readonly Route[],
  input: SubjectTokenInput | undefined,
  context: CheckContext,
  begin: (component: Component, title: string) => (finding: Finding) => void,
): Promise<Prerequisites['subject']> {
  const [first] = routes;
  if (first === undefined) return 'missing';
  if (input !== undefined) {
    const found = begin({ kind: 'subject_token', name: input.source }, `subject token from ${input.source}`);
    return (await readRouteSubject(first, input, context, found)) ?? 'unusable';
  }
  const untried = routes.filter(
    ({ credential }) => credential.kind === 'exchange' && credential.onMissingSubject !== 'client_credentials',
  );
  if (untried.length > 0) begin({ kind: 'subject_token', name: '' }, 'subject token')(missingSubject(untried));
  return 'missing';
}

/** The rules for callers of the agent and for subject tokens, once for all that share their keys. */
function verificationsOf(
  routes: readonly Route[],
  callers: SubjectVerification | undefined,
): ReadonlyMap<string, SubjectVerification> {
  const byKeys = rulesOf(routes, callers).filter(
    ({ introspection, jwksUri }) => introspection === undefined || jwksUri !== undefined,
  );
  return new Map(byKeys.map((verify) => [keySourceOf(verify), verify]));
}

/** The rules by which authorization servers are asked, once for all that share their source. */
function introspectionsOf(
  routes: readonly Route[],
  callers: SubjectVerification | undefined,
): (readonly [source: string, SubjectVerification, Introspection])[] {
  const found = new Map<string, readonly [string, SubjectVerification, Introspection]>();
  for (const rules of rulesOf(routes, callers)) {
    const { introspection } = rules;
    const source = keySourceOf(rules);
    if (introspection !== undefined) found.set(source, [source, rules, introspection]);
  }
  return [...found.values()];
}

function rulesOf(routes: readonly Route[], callers: SubjectVerification | undefined): SubjectVerification[] {
  const ofRoutes = routes.map(({ subjectToken: { verify } }) => verify);
  return [callers, ...ofRoutes].filter((verify) => verify !== undefined);
}
