import { executionAsyncResource } from 'node:async_hooks';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { type App, startApp } from '../app.ts';
import type { Config } from '../config/config.ts';
import type { Match } from '../config/match.ts';
import type { Credential, Route } from '../config/route.ts';
import type { ExpectedAudience } from '../config/targets.ts';
import { isLoopback } from '../host-names.ts';
import { createLogger, jsonLog, type Logger, textLog } from '../observability/logger.ts';
import { startTracing } from '../observability/start-tracing.ts';
import { readVersion } from '../version.ts';
import { type Command, configFile, EXIT, failed, messageOf, UsageError } from './command.ts';
import { createReloads, logLevelOf } from './reloads.ts';
import { loadOrReport, logProblems, logTeam, showsColour } from './report-problems.ts';
import { stopSignals } from './stop-signals.ts';
import { USAGES } from './usages.ts';

/** Runs the proxy until SIGTERM or SIGINT. SIGHUP and a change of the config file reload the config. */
export const run: Command = async (args) => {
  holdTickShape();
  const { values } = parseArgs({ args: [...args], options: USAGES.run.flags });
  const file = configFile(values.config);
  const logger = createLogger('info', logDestination(values['log-format']));
  const reloads = createReloads(file, logger);
  const loaded = await loadOrReport(file, { needsVariables: true });
  if (loaded === undefined) {
    reloads.close();
    return EXIT.failed;
  }
  const { config, problems } = loaded;
  const version = readVersion();
  logger.level = logLevelOf(config);
  logProblems(logger, problems);
  for (const team of config.teams) logTeam(logger, team);
  const signals = stopSignals();
  exitOnUncaughtError(logger);

  const tracing = await startTracing(process.env, version, logger);
  let app: App;
  try {
    app = await startApp(config, version, logger, tracing);
  } catch (error) {
    // Exits explicitly, because the connections of the parts that did start keep the process alive, such as that to a shared cache.
    return process.exit(failed(messageOf(error)));
  }
  const { listen, admin, inbound, intercepting } = app;
  const asked = [app.decisions, app.decisionsByGrpc].filter((address) => address !== undefined);
  const routes = describeRoutes(config, listen);
  const more = { ...(intercepting.length > 0 && { intercepting }), ...(asked.length > 0 && { decisions: asked }) };
  logger.info(
    { version, listen, ...more, admin, inbound, signals: app.signals, config: file, routes },
    'cambist is listening',
  );

  reloads.begin(app, config);
  keepCallsYoung();
  const signal = await signals.first;
  reloads.close();
  logger.info({ signal, grace_ms: config.limits.shutdownGraceMs }, 'cambist is shutting down');
  await app.stop(signals.second);
  if (!signals.second.aborted) await tracing?.shutdown();
  logger.info('cambist has stopped');
  // Exits explicitly, because an exporter whose collector is down keeps the process alive until its last retry.
  return process.exit(signals.second.aborted ? EXIT.failed : EXIT.done);
};

/**
 * Stops V8 from creating the objects of calls in the old generation, which it does after many exchanges: their garbage would wait for
 * a full collection. Node's own code cache does not fit a process that has this flag on its command line, so a start would cost a
 * sixth more.
 */
function keepCallsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

/** @param format `auto` means text on a terminal and JSON elsewhere */
function logDestination(format: string): ReturnType<typeof jsonLog> {
  const { stdout } = process;
  switch (format) {
    case 'auto':
      return stdout.isTTY === true ? logDestination('text') : jsonLog();
    case 'json':
      return jsonLog();
    case 'text':
      return textLog(showsColour(stdout));
    default:
      throw new UsageError(`invalid --log-format "${format}": use auto, json or text`);
  }
}

/** Logs an uncaught error, redacted, and exits, because the state of the process is unknown after it. */
function exitOnUncaughtError(logger: Logger): void {
  const exit = (error: unknown): void => {
    logger.fatal({ err: error }, 'unexpected error; exiting');
    process.exit(EXIT.failed);
  };
  process.on('uncaughtException', exit);
  process.on('unhandledRejection', exit);
}

/** Kept for the lifetime of the process. */
export const heldTicks: object[] = [];

/**
 * Keeps one of the objects that `process.nextTick` creates alive. Node builds them from computed keys. V8 forgets their hidden class
 * if it collects garbage while none exists, which happens at startup with a long config. Code that was optimized before then creates
 * each object by a call into V8's runtime: 2 µs of a cached request on Node 24. Call this early.
 */
export function holdTickShape(): void {
  process.nextTick(() => heldTicks.push(executionAsyncResource()));
}

/** Most routes that the log describes. Container runtimes split lines of more than 16 KiB. */
const MAX_DESCRIBED = 50;

/**
 * Describes the first routes of a config.
 * @param listen the proxy's address, as in `http://127.0.0.1:8180` or `unix:/path`
 */
export function describeRoutes({ routes, intercept }: Pick<Config, 'routes' | 'intercept'>, listen: string): string[] {
  const scheme = intercept === undefined && !listen.startsWith('https:') ? 'http' : 'https';
  const described = routes.slice(0, MAX_DESCRIBED).map((route) => describeRoute(route, listen, scheme));
  const others = routes.length - described.length;
  return others === 0 ? described : [...described, `and ${others} more: see the status page`];
}

/** A route in one line: its name, the URL that the agent calls, the upstream, and the token that the upstream gets. */
function describeRoute({ name, match, upstream, credential }: Route, listen: string, scheme: string): string {
  const conditions = describeConditions(match);
  const to = `${upstream.origin}${upstream.path} (${describeToken(credential)})`;
  return `${name}: ${agentUrl(match, listen, scheme)}${conditions} → ${to}`;
}

/** A host that is not on this machine is that of the backend: the agent uses cambist as its proxy. */
function agentUrl({ host, path }: Match, listen: string, scheme: string): string {
  const isOwn = host === undefined || isLoopback(host);
  return isOwn ? `${listen}${path}` : `${scheme}://${host}${path}`;
}

function describeConditions({ conditions }: Match): string {
  const { methods, mcpMethods, mcpNames } = conditions ?? {};
  const parts = [methods, mcpMethods, mcpNames].filter((part) => part !== undefined);
  return parts.length === 0 ? '' : ` [${parts.map((part) => part.join(' ')).join(', ')}]`;
}

function describeToken(credential: Credential): string {
  switch (credential.kind) {
    case 'secret':
      return 'a secret';
    case 'passthrough':
      return "the caller's own token";
    case 'none':
      return 'no token';
    case 'client_credentials':
      return `cambist's own token, ${describeAudience(credential.target.expectAudience)}`;
    case 'exchange':
      return describeAudience(credential.target.expectAudience);
  }
}

function describeAudience(expected: ExpectedAudience): string {
  if (expected === 'any') return 'aud not checked';
  const names = 'only' in expected ? expected.only : expected;
  return `aud ${names.join(' or ')}`;
}
