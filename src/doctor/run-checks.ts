import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type Config, tlsListeners } from '../config/config.ts';
import { decisionSecrets } from '../config/decisions.ts';
import type { Route } from '../config/route.ts';
import { errorSummary, shownFiles, type Team } from '../config/teams.ts';
import { signallingServers, usedServers } from '../config/used-servers.ts';
import type { SubjectVerification } from '../config/verification.ts';
import { readCredential } from '../secrets/credential.ts';
import type { WorkloadApi } from '../spiffe/workload-api.ts';
import { keySourceOf } from '../tokens/subject-check.ts';
import { checkBackend } from './check-backend.ts';
import type { CheckContext } from './check-context.ts';
import { checkAgentIssuer, checkKeys, checkTransmitter } from './check-keys.ts';
import { checkListener } from './check-listener.ts';
import { checkAgent, checkAudit, checkSharedCache, checkSpiffe, storeServersOf } from './check-own-parts.ts';
import { checkRoute, type Prerequisites } from './check-route.ts';
import { attempt, checkIntrospection, checkServer, credentialFinding, rolesOf } from './check-server.ts';
import { missingSubject, readRouteSubject, type SubjectTokenInput, usesCallerToken } from './check-subject.ts';
import { type Component, type Finding, type Found, fine, problem } from './finding.ts';
import type { UsableKey } from './key-set.ts';

export interface Reporter {
  /** Starts the findings on a component. @param title as in `route "github": https://…` */
  section(component: Component, title: string): void;
  finding(component: Component, finding: Finding): void;
}

export interface CheckOptions {
  readonly config: Config;
  /** Checks this route and its servers only. */
  readonly only: Route | undefined;
  readonly input: SubjectTokenInput | undefined;
  /** Calls each backend with the issued token. */
  readonly call: boolean;
  readonly context: CheckContext;
  /** Exists with `spiffe` in the config. */
  readonly spiffe: WorkloadApi | undefined;
  readonly reporter: Reporter;
}

interface Run extends CheckOptions {
  readonly routes: readonly Route[];
  /** The rules for subject tokens, and for callers of the agent: once for all that share their keys, by the source of these. */
  readonly rules: ReadonlyMap<string, SubjectVerification>;
  readonly keyChecks: Map<string, { findings: readonly Finding[]; keys: readonly UsableKey[] | undefined }>;
  /** Starts the section of a component. @returns the receiver of its findings */
  readonly begin: (component: Component, title: string) => Found;
}

/**
 * Checks each authorization server, the keys of each issuer of verified subject tokens, the caller's token, and each route with
 * its backend. The checks run one by one, except for backends, because several of them may be slow.
 */
export async function runChecks(options: CheckOptions): Promise<void> {
  const { config, only, context, reporter } = options;
  const routes = only === undefined ? config.routes : [only];
  const backends = new Map(routes.map((route) => [route, checkBackend(route, context)]));
  const run: Run = {
    ...options,
    routes,
    rules: rulesOf(routes, only === undefined ? config.inbound?.verify : undefined),
    keyChecks: new Map(),
    begin(component, title) {
      reporter.section(component, title);
      return (finding) => reporter.finding(component, finding);
    },
  };
  const usable = await checkServers(run);
  const keys = await checkVerificationKeys(run);
  await checkAgentTokens(run);
  if (only === undefined) await checkTransmitters(run);
  await checkIntrospections(run, keys);
  for (const team of only === undefined ? config.teams : []) checkTeam(team, run);
  await checkRoutes(run, backends, usable, keys);
  if (only === undefined) await checkOwnParts(run);
}

/** @returns those that are usable */
async function checkServers(run: Run): Promise<ReadonlySet<AuthorizationServer>> {
  const { config, only, routes, context, begin } = run;
  const roles = rolesOf(routes);
  const usable = new Set<AuthorizationServer>();
  for (const server of only === undefined ? config.authorizationServers : roles.keys()) {
    const title = `authorization server "${server.name}": ${server.issuer ?? server.tokenEndpoint}`;
    const found = begin({ kind: 'authorization_server', name: server.name }, title);
    const ofSignals = signallingServers(config).includes(server) ? 'client_credentials' : undefined;
    if (await checkServer(server, roles.get(server) ?? ofSignals, context, found)) usable.add(server);
  }
  return usable;
}

/** @returns the usable keys by their source */
async function checkVerificationKeys(run: Run) {
  const { rules: all, begin } = run;
  const keys = new Map<string, readonly UsableKey[]>();
  for (const [source, rules] of all) {
    const { issuer, introspection, jwksUri } = rules;
    if (introspection !== undefined && jwksUri === undefined) continue;
    const found = begin({ kind: 'issuer', name: issuer }, `keys of issuer "${issuer}", which verify subject tokens`);
    const usable = await checkKeysOnce(rules, run, found);
    if (usable !== undefined) keys.set(source, usable);
  }
  return keys;
}

/** The verifier keeps keys, and requests those that failed no sooner than a cooldown allows. So each source is read once. */
async function checkKeysOnce(
  rules: SubjectVerification,
  { config, context, keyChecks }: Run,
  found: Found,
  at?: string,
): Promise<readonly UsableKey[] | undefined> {
  const source = keySourceOf(rules);
  let check = keyChecks.get(source);
  if (check === undefined) {
    const findings: Finding[] = [];
    const keys = await checkKeys(rules, config.authorizationServers, context, (one) => findings.push(one), at);
    check = { findings, keys };
    keyChecks.set(source, check);
  }
  check.findings.forEach(found);
  return check.keys;
}

async function checkAgentTokens(run: Run): Promise<void> {
  const { token = [] } = run.config.agents ?? {};
  for (const [index, rules] of token.entries()) {
    const { issuer } = rules;
    const at = token.length === 1 ? 'agents.token' : `agents.token[${index}]`;
    const found = run.begin(
      { kind: 'issuer', name: issuer },
      `keys of issuer "${issuer}", which verify tokens of agents`,
    );
    await checkKeysOnce(rules, run, found, at);
    await checkAgentIssuer(rules, at, found);
  }
}

async function checkTransmitters(run: Run): Promise<void> {
  const { config, context, begin } = run;
  for (const transmitter of config.signals?.transmitters ?? []) {
    const { name, issuer } = transmitter;
    const title = `transmitter "${name}", and the keys that verify its signals`;
    const found = begin({ kind: 'issuer', name: issuer }, title);
    const rules = { ...transmitter, allowInsecureHttp: false };
    await checkKeysOnce(rules, run, found, `signals.transmitters.${name}`);
    await checkTransmitter(transmitter, context, found);
  }
}

/** Removes the keys of issuers whose tokens cannot be introspected, and adds an empty list where introspection does without keys. */
async function checkIntrospections({ rules: all, context, begin }: Run, keys: Map<string, readonly UsableKey[]>) {
  for (const [source, rules] of all) {
    if (rules.introspection === undefined) continue;
    const { name } = rules.introspection.authorizationServer;
    const found = begin({ kind: 'issuer', name: rules.issuer }, `introspection at authorization server "${name}"`);
    const works = await checkIntrospection(rules, name, context, found);
    if (!works) keys.delete(source);
    else if (rules.jwksUri === undefined) keys.set(source, []);
  }
}

async function checkRoutes(
  run: Run,
  backends: ReadonlyMap<Route, Promise<readonly Finding[]>>,
  usable: Prerequisites['usable'],
  keys: Prerequisites['keys'],
): Promise<void> {
  const { call, context, begin } = run;
  const exchanging = run.routes.filter(
    (route) => usesCallerToken(route) && usedServers(route.credential).every((server) => usable.has(server)),
  );
  const subject = await checkCallerToken(exchanging, run);
  for (const [route, backend] of backends) {
    const title = `route "${route.name}": ${route.upstream.origin}${route.upstream.path}`;
    const found = begin({ kind: 'route', name: route.name }, title);
    for (const finding of await backend) found(finding);
    await checkRoute(route, { usable, keys, subject, call, context }, found);
    if (subject === 'missing' || route.unattended !== 'client_credentials') continue;
    const unattended = `route "${route.name}", handshakes and lists without a caller`;
    const again = begin({ kind: 'route', name: route.name }, unattended);
    await checkRoute(route, { usable, keys, subject: 'missing', call, context }, again);
  }
}

/** The routes of a team are checked as all others, unless a file is invalid. */
function checkTeam(team: Team, { begin }: Run): void {
  const { grants, routes, isOpen } = team;
  const { name, folder } = grants;
  const found = begin({ kind: 'team', name }, `team "${name}": ${folder}`);
  if (isOpen) found(fine('team_files_valid', `every file is valid; number of routes: ${routes.length}`));
  for (const [shown, file] of shownFiles(team)) {
    if (file.isValid) continue;
    const { first, count } = errorSummary(shown, file);
    const why = count === 1 ? first : `${first}; number of further errors: ${count - 1}`;
    const fix = 'fix it, or let the team fix it: "cambist validate" shows every problem';
    found(problem('team_file_invalid', `"${shown}" is invalid, so requests in the region get 503`, { why, fix }));
  }
}

async function checkOwnParts({ config, context, spiffe, begin }: Run): Promise<void> {
  const { inbound, audit, signals, cache } = config;
  for (const { key, secret } of decisionSecrets(config.decisions)) {
    const { failure } = await attempt(() => readCredential(secret, key));
    if (failure !== undefined) begin({ kind: 'listener', name: key }, key)(credentialFinding(failure));
  }
  for (const { name, tls } of tlsListeners(config)) {
    const found = begin({ kind: 'listener', name }, `TLS of ${name}`);
    await checkListener(tls, name, context.clock.wallMs(), found);
  }
  if (inbound !== undefined) {
    await checkAgent(inbound, begin({ kind: 'agent', name: '' }, 'agent, which callers reach through inbound.listen'));
  }
  if (cache.shared !== undefined) {
    const title = `shared cache: ${storeServersOf(cache.shared)}`;
    await checkSharedCache(cache.shared, signals !== undefined, begin({ kind: 'shared_cache', name: '' }, title));
  }
  if (spiffe !== undefined) {
    await checkSpiffe(spiffe, begin({ kind: 'spiffe', name: '' }, `SPIFFE agent: ${config.spiffe?.socket}`));
  }
  if (audit !== undefined) await checkAudit(audit, begin({ kind: 'audit', name: '' }, 'audit trail'));
}

/** Checks the caller's token once. @param routes those that exchange it */
async function checkCallerToken(
  routes: readonly Route[],
  { input, context, begin }: Run,
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

function rulesOf(routes: readonly Route[], callers: SubjectVerification | undefined) {
  const rules = [callers, ...routes.map(({ subjectToken: { verify } }) => verify)].filter((each) => each !== undefined);
  return new Map(rules.map((each) => [keySourceOf(each), each]));
}
