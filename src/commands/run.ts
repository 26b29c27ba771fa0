import { executionAsyncResource } from 'node:async_hooks';
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { type App, startApp } from '../app.ts';
import { createLogger, jsonLog, type Logger, textLog } from '../observability/logger.ts';
import { startTracing } from '../observability/start-tracing.ts';
import { readVersion } from '../version.ts';
import { type Command, configFile, EXIT, messageOf, UsageError } from './command.ts';
import { describeRoutes } from './describe-route.ts';
import { loadOrReport, showsColour } from './print-problems.ts';
import { createReloads, logLevelOf, logProblems } from './reloads.ts';
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
  const signals = stopSignals();
  exitOnUncaughtError(logger);

  const tracing = await startTracing(process.env, version, logger);
  let app: App;
  try {
    app = await startApp(config, version, logger, tracing);
  } catch (error) {
    reloads.close();
    console.error(messageOf(error));
    return EXIT.failed;
  }
  const { listen, admin, inbound, intercepting } = app;
  const routes = describeRoutes(config, listen);
  const more = intercepting.length === 0 ? {} : { intercepting };
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
