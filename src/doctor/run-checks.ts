import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Config } from '../config/config.ts';
import type { Route } from '../config/route.ts';
import { signallingServers, usedServers } from '../config/used-servers.ts';
import type { WorkloadApi } from '../spiffe/workload-api.ts';
import { checkBackend } from './check-backend.ts';
import type { CheckContext } from './check-context.ts';
import { createIssuerChecks } from './check-keys.ts';
import { checkOwnParts, checkTeam } from './check-own-parts.ts';
import { checkRoute, type Prerequisites } from './check-route.ts';
import { checkServer, rolesOf } from './check-server.ts';
import { missingSubject, readRouteSubject, type SubjectTokenInput, usesCallerToken } from './check-subject.ts';
import type { Component, Finding, Report } from './finding.ts';

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

/**
 * Checks each authorization server, the keys of each issuer of verified tokens, the caller's token, each route with its backend, and
 * cambist's own parts. The checks run one by one, except for backends, because several of them may be slow.
 */
export async function runChecks({ config, only, input, call, context, spiffe, reporter }: CheckOptions): Promise<void> {
  const routes = only === undefined ? config.routes : [only];
  const backends = new Map(routes.map((route) => [route, checkBackend(route, context)]));

  const report: Report = async (kind, name, title, check) => {
    reporter.section({ kind, name }, title);
    const findings = [await check].flat();
    for (const finding of findings) reporter.finding({ kind, name }, finding);
    return findings.every(({ severity, code }) => severity !== 'error' || code === 'clock_skew');
  };
  const issuers = createIssuerChecks({ config, only, routes, context, report });

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

  const usable = await checkServers();
  const verifiable = await issuers.checkVerification();
  await issuers.checkOthers();
  for (const team of only === undefined ? config.teams : []) {
    const { name, folder } = team.grants;
    await report('team', name, `team "${name}": ${folder}`, checkTeam(team));
  }
  await checkRoutes(usable, verifiable);
  if (only === undefined) await checkOwnParts(config, spiffe, context.clock.wallMs(), report);
}
