import type { AuthorizationServer, Config, Route, SubjectVerification } from '../config/config.ts';
import { keySourceOf } from '../tokens/subject-check.ts';
import { unknownClockFinding } from './clocks.ts';
import { examineKeys } from './examine-keys.ts';
import { examineRoute } from './examine-route.ts';
import { examineServer, type ServerHealth } from './examine-server.ts';
import type { GivenToken } from './examine-subject.ts';
import { examineUpstream } from './examine-upstream.ts';
import type { Finding, Patient } from './finding.ts';
import type { Instruments } from './instruments.ts';
import type { UsableKey } from './keys.ts';
import { rolesOf } from './roles.ts';

/** Is told of each step as it is taken. */
export interface Listener {
  /** @param title as in `route "github" → https://…` */
  begins(patient: Patient, title: string): void;
  found(patient: Patient, finding: Finding): void;
}

export interface Examination {
  readonly config: Config;
  /** The one route to look at, and its servers; undefined: all. */
  readonly only: Route | undefined;
  /** The subject token that was given for routes that take the caller's. */
  readonly given: GivenToken | undefined;
  readonly instruments: Instruments;
  readonly listener: Listener;
}

/**
 * Looks at each authorization server, at the keys of each issuer that subject tokens are verified by, then at the backend of each
 * route, where it tries one exchange. One after the other, so that steps can be read; backends alone are asked all at once, since
 * many may be silent.
 */
export async function examine({ config, only, given, instruments, listener }: Examination): Promise<void> {
  const routes = only === undefined ? config.routes : [only];
  const upstreams = new Map(routes.map((route) => [route, examineUpstream(route, instruments.pool)]));
  const roles = rolesOf(routes);
  const health = new Map<AuthorizationServer, ServerHealth>();
  for (const server of only === undefined ? config.authorizationServers : roles.keys()) {
    const patient: Patient = { kind: 'authorization_server', name: server.name };
    listener.begins(patient, `authorization server "${server.name}": ${server.issuer ?? server.tokenEndpoint}`);
    const found = (finding: Finding) => listener.found(patient, finding);
    health.set(server, await examineServer(server, roles.get(server), instruments, found));
  }
  const keys = new Map<string, readonly UsableKey[]>();
  for (const [source, rules] of verificationsOf(routes)) {
    const patient: Patient = { kind: 'issuer', name: rules.issuer };
    listener.begins(patient, `keys of issuer "${rules.issuer}", to verify subject tokens by`);
    const found = (finding: Finding) => listener.found(patient, finding);
    const usable = await examineKeys(rules, config.authorizationServers, instruments, found);
    if (usable !== undefined) keys.set(source, usable);
  }
  for (const [route, upstream] of upstreams) {
    const patient: Patient = { kind: 'route', name: route.name };
    listener.begins(patient, `route "${route.name}": ${route.upstream.origin}${route.upstream.path}`);
    const found = (finding: Finding) => listener.found(patient, finding);
    found(await upstream);
    await examineRoute(route, given, { servers: health, keys }, instruments, found);
  }
  for (const [server, { fit, clock }] of health) {
    if (!fit || clock !== 'unknown') continue;
    const patient: Patient = { kind: 'authorization_server', name: server.name };
    listener.begins(patient, `authorization server "${server.name}", once more`);
    listener.found(patient, unknownClockFinding());
  }
}

/** What subject tokens are held to, once for all routes that share the keys. */
function verificationsOf(routes: readonly Route[]): ReadonlyMap<string, SubjectVerification> {
  const rules = routes.flatMap(({ subjectToken: { verify } }) => (verify === undefined ? [] : [verify]));
  return new Map(rules.map((verify) => [keySourceOf(verify), verify]));
}
