import type { AuthorizationServer, Config, Route, SubjectVerification } from '../config/config.ts';
import { keySourceOf } from '../tokens/subject-check.ts';
import { checkBackend } from './check-backend.ts';
import type { CheckContext } from './check-context.ts';
import { checkKeys } from './check-keys.ts';
import { checkRoute } from './check-route.ts';
import { checkServer, type ServerHealth } from './check-server.ts';
import type { SubjectTokenInput } from './check-subject.ts';
import { unknownClockFinding } from './clocks.ts';
import type { Component, Finding } from './finding.ts';
import type { UsableKey } from './key-set.ts';
import { rolesOf } from './roles.ts';

/** Is told of each step as it is taken. */
export interface Reporter {
  /** @param title as in `route "github" → https://…` */
  begins(component: Component, title: string): void;
  found(component: Component, finding: Finding): void;
}

export interface CheckOptions {
  readonly config: Config;
  /** The one route to look at, and its servers; undefined: all. */
  readonly only: Route | undefined;
  /** The subject token that was given for routes that take the caller's. */
  readonly given: SubjectTokenInput | undefined;
  readonly context: CheckContext;
  readonly reporter: Reporter;
}

/**
 * Looks at each authorization server, at the keys of each issuer that subject tokens are verified by, then at the backend of each
 * route, where it tries one exchange. One after the other, so that steps can be read; backends alone are asked all at once, since
 * many may be silent.
 */
export async function runChecks({ config, only, given, context, reporter }: CheckOptions): Promise<void> {
  const routes = only === undefined ? config.routes : [only];
  const upstreams = new Map(routes.map((route) => [route, checkBackend(route, context.pool)]));
  const roles = rolesOf(routes);
  const health = new Map<AuthorizationServer, ServerHealth>();
  for (const server of only === undefined ? config.authorizationServers : roles.keys()) {
    const component: Component = { kind: 'authorization_server', name: server.name };
    reporter.begins(component, `authorization server "${server.name}": ${server.issuer ?? server.tokenEndpoint}`);
    const found = (finding: Finding) => reporter.found(component, finding);
    health.set(server, await checkServer(server, roles.get(server), context, found));
  }
  const keys = new Map<string, readonly UsableKey[]>();
  for (const [source, rules] of verificationsOf(routes)) {
    const component: Component = { kind: 'issuer', name: rules.issuer };
    reporter.begins(component, `keys of issuer "${rules.issuer}", to verify subject tokens by`);
    const found = (finding: Finding) => reporter.found(component, finding);
    const usable = await checkKeys(rules, config.authorizationServers, context, found);
    if (usable !== undefined) keys.set(source, usable);
  }
  for (const [route, upstream] of upstreams) {
    const component: Component = { kind: 'route', name: route.name };
    reporter.begins(component, `route "${route.name}": ${route.upstream.origin}${route.upstream.path}`);
    const found = (finding: Finding) => reporter.found(component, finding);
    found(await upstream);
    await checkRoute(route, given, { servers: health, keys }, context, found);
  }
  for (const [server, { fit, clock }] of health) {
    if (!fit || clock !== 'unknown') continue;
    const component: Component = { kind: 'authorization_server', name: server.name };
    reporter.begins(component, `authorization server "${server.name}", once more`);
    reporter.found(component, unknownClockFinding());
  }
}

/** What subject tokens are held to, once for all routes that share the keys. */
function verificationsOf(routes: readonly Route[]): ReadonlyMap<string, SubjectVerification> {
  const rules = routes.flatMap(({ subjectToken: { verify } }) => (verify === undefined ? [] : [verify]));
  return new Map(rules.map((verify) => [keySourceOf(verify), verify]));
}
