import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type Config, tlsListeners } from '../config/config.ts';
import type { Route } from '../config/route.ts';
import { signallingServers, usedServers } from '../config/used-servers.ts';
import type { SubjectVerification } from '../config/verification.ts';
import type { WorkloadApi } from '../spiffe/workload-api.ts';
import { keySourceOf } from '../tokens/subject-check.ts';
import { checkBackend } from './check-backend.ts';
import type { CheckContext } from './check-context.ts';
import { checkAgentIssuer, checkKeys, checkTransmitter } from './check-keys.ts';
import {
  checkAgent,
  checkListener,
  checkSecrets,
  checkSharedCache,
  checkSpiffe,
  checkTeam,
  storeServersOf,
} from './check-own-parts.ts';
import { checkRoute, type Prerequisites } from './check-route.ts';
import { checkIntrospection, checkServer, rolesOf } from './check-server.ts';
import { missingSubject, readRouteSubject, type SubjectTokenInput, usesCallerToken } from './check-subject.ts';
import type { Component, Finding } from './finding.ts';

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

type Check = Finding | readonly Finding[] | Promise<Finding | readonly Finding[]>;

/**
 * Checks each authorization server, the keys of each issuer of verified tokens, the caller's token, each route with its backend, and
 * cambist's own parts. The checks run one by one, except for backends, because several of them may be slow.
 */
export async function runChecks({ config, only, input, call, context, spiffe, reporter }: CheckOptions): Promise<void> {
  const routes = only === undefined ? config.routes : [only];
  const backends = new Map(routes.map((route) => [route, checkBackend(route, context)]));
  const keyChecks = new Map<string, Promise<Finding>>();

  /** @returns true if the component is usable. The checks go on with a wrong clock */
  async function report(kind: Component['kind'], name: string, title: string, check: Check): Promise<boolean> {
    reporter.section({ kind, name }, title);
    const findings = [await check].flat();
    for (const finding of findings) reporter.finding({ kind, name }, finding);
    return findings.every(({ severity, code }) => severity !== 'error' || code === 'clock_skew');
  }

  /** The verifier keeps keys, and requests those that failed no sooner than a cooldown allows. So each source is read once. */
  function keysOf(rules: SubjectVerification, at?: string): Promise<Finding> {
    const source = keySourceOf(rules);
    const checking = keyChecks.get(source) ?? checkKeys(rules, config.authorizationServers, context, at);
    keyChecks.set(source, checking);
    return checking;
  }

  async function checkServers(): Promise<ReadonlySet<AuthorizationServer>> {
    const roles = rolesOf(routes);
    const usable = new Set<AuthorizationServer>();
    for (const server of only === undefined ? config.authorizationServers : roles.keys()) {
      const { name, issuer, tokenEndpoint } = server;
      const ofSignals = signallingServers(config).includes(server) ? 'client_credentials' : undefined;
      const check = checkServer(server, roles.get(server) ?? ofSignals, context);
      const title = `authorization server "${name}": ${issuer ?? tokenEndpoint}`;
      if (await report('authorization_server', name, title, check)) usable.add(server);
    }
    return usable;
  }

  /** Checks the rules for subject tokens and for callers of the agent. @returns the key sources whose tokens can be verified */
  async function checkVerification(): Promise<ReadonlySet<string>> {
    const all = routes.map(({ subjectToken }) => subjectToken.verify);
    if (only === undefined) all.unshift(config.inbound?.verify);
    const bySource = new Map(all.flatMap((rules) => (rules === undefined ? [] : [[keySourceOf(rules), rules]])));
    const verifiable = new Set<string>();
    for (const [source, rules] of bySource) {
      const { issuer, introspection, jwksUri } = rules;
      let works = true;
      if (introspection === undefined || jwksUri !== undefined)
        works = await report(
          'issuer',
          issuer,
          `keys of issuer "${issuer}", which verify subject tokens`,
          keysOf(rules),
        );
      if (introspection !== undefined) {
        const { name } = introspection.authorizationServer;
        const check = checkIntrospection(rules, name, context);
        works = (await report('issuer', issuer, `introspection at authorization server "${name}"`, check)) && works;
      }
      if (works) verifiable.add(source);
    }
    return verifiable;
  }

  async function checkOtherIssuers(): Promise<void> {
    const { token = [] } = config.agents ?? {};
    for (const [index, rules] of token.entries()) {
      const at = token.length === 1 ? 'agents.token' : `agents.token[${index}]`;
      const title = `keys of issuer "${rules.issuer}", which verify tokens of agents`;
      const check = async () => [await keysOf(rules, at), ...(await checkAgentIssuer(rules, at))];
      await report('issuer', rules.issuer, title, check());
    }
    for (const transmitter of only === undefined ? (config.signals?.transmitters ?? []) : []) {
      const { name, issuer } = transmitter;
      const rules = { ...transmitter, allowInsecureHttp: false };
      const keys = keysOf(rules, `signals.transmitters.${name}`);
      const check = async () => [await keys, ...(await checkTransmitter(transmitter, context))];
      await report('issuer', issuer, `transmitter "${name}", and the keys that verify its signals`, check());
    }
  }

  /** Checks the caller's token once. @param exchanging the routes that exchange it */
  async function checkCallerToken(exchanging: readonly Route[]): Promise<Prerequisites['subject']> {
    const [first] = exchanging;
    if (first === undefined) return 'missing';
    if (input === undefined) {
      const untried = exchanging.filter(
        ({ credential }) => credential.kind === 'exchange' && credential.onMissingSubject !== 'client_credentials',
      );
      if (untried.length > 0) await report('subject_token', '', 'subject token', missingSubject(untried));
      return 'missing';
    }
    const { subject, findings } = await readRouteSubject(first, input, context);
    await report('subject_token', input.source, `subject token from ${input.source}`, findings);
    return subject ?? 'unusable';
  }

  async function checkRoutes(usable: Prerequisites['usable'], verifiable: Prerequisites['verifiable']): Promise<void> {
    const subject = await checkCallerToken(
      routes.filter(
        (route) => usesCallerToken(route) && usedServers(route.credential).every((server) => usable.has(server)),
      ),
    );
    for (const [route, backend] of backends) {
      const { name, upstream, unattended } = route;
      const checked = { usable, verifiable, subject, call, context };
      const check = async () => [...(await backend), ...(await checkRoute(route, checked))];
      await report('route', name, `route "${name}": ${upstream.origin}${upstream.path}`, check());
      if (subject === 'missing' || unattended !== 'client_credentials') continue;
      const without = checkRoute(route, { ...checked, subject: 'missing' });
      await report('route', name, `route "${name}", handshakes and lists without a caller`, without);
    }
  }

  async function checkOwnParts(): Promise<void> {
    const { inbound, signals, cache } = config;
    for (const [key, finding] of await checkSecrets(config)) await report('secret', key, key, finding);
    for (const { name, tls } of tlsListeners(config))
      await report('listener', name, `TLS of ${name}`, checkListener(tls, name, context.clock.wallMs()));
    if (inbound !== undefined)
      await report('agent', '', 'agent, which callers reach through inbound.listen', checkAgent(inbound));
    if (cache.shared !== undefined) {
      const title = `shared cache: ${storeServersOf(cache.shared)}`;
      await report('shared_cache', '', title, checkSharedCache(cache.shared, signals !== undefined));
    }
    if (spiffe !== undefined) await report('spiffe', '', `SPIFFE agent: ${config.spiffe?.socket}`, checkSpiffe(spiffe));
  }

  const usable = await checkServers();
  const verifiable = await checkVerification();
  await checkOtherIssuers();
  for (const team of only === undefined ? config.teams : []) {
    const { name, folder } = team.grants;
    await report('team', name, `team "${name}": ${folder}`, checkTeam(team));
  }
  await checkRoutes(usable, verifiable);
  if (only === undefined) await checkOwnParts();
}
