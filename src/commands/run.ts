import { parseArgs } from 'node:util';
import { type App, startApp } from '../app.ts';
import type { Config, TlsFiles } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { formatProblem, type Problem } from '../config/problem.ts';
import { watchFiles } from '../config/watch.ts';
import { createLogger, jsonLog, type Logger, textLog } from '../logger.ts';
import { startTracing } from '../telemetry/start-tracing.ts';
import { readVersion } from '../version.ts';
import { type Command, configFile, EXIT, UsageError } from './command.ts';

/** Runs the proxy until SIGTERM or SIGINT; SIGHUP, and a change of the file, load the config anew. */
export const run: Command = async (args) => {
  const options = { config: { type: 'string' }, 'log-format': { type: 'string' } } as const;
  const { values } = parseArgs({ args: [...args], options });
  const file = configFile(values.config);
  const logger = createLogger('info', logDestination(values['log-format'] ?? 'auto'));
  const reloads = createReloads(file, logger);
  const { config, problems } = await loadConfig(file);
  if (config === undefined) {
    reloads.close();
    for (const problem of problems) console.error(formatProblem(problem));
    return EXIT.failed;
  }
  const version = readVersion();
  logger.level = config.log.level;
  logProblems(logger, problems);
  const stopSignal = onceStopSignal();
  endOnFault(logger);

  const tracing = await startTracing(process.env, version, logger);
  let app: App;
  try {
    app = await startApp(config, version, logger, tracing);
  } catch (error) {
    reloads.close();
    console.error(error instanceof Error ? error.message : String(error));
    return EXIT.failed;
  }
  const { listen, admin } = app;
  const routes = config.routes.map((route) => `${route.name} ${route.match.host ?? '*'}${route.match.path}`);
  logger.info({ version, listen, admin, config: file, routes }, 'cambist is listening');

  reloads.begin(app, config);
  const signal = await stopSignal;
  reloads.close();
  logger.info({ signal, grace_ms: config.limits.shutdownGraceMs }, 'cambist is shutting down');
  await app.stop();
  await tracing?.shutdown();
  logger.info('cambist has stopped');
  return EXIT.done;
};

/** @param format `auto`: lines for a person on a terminal, JSON elsewhere */
function logDestination(format: string): ReturnType<typeof jsonLog> {
  const { stdout, env } = process;
  const isTerminal = stdout.isTTY === true;
  switch (format) {
    case 'auto':
      return isTerminal ? logDestination('text') : jsonLog();
    case 'json':
      return jsonLog();
    case 'text':
      return textLog(stdout, isTerminal && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb');
    default:
      throw new UsageError(`--log-format is auto, json or text, and not "${format}"`);
  }
}

interface Reloads {
  /** From now on changes reach the app, which serves this config; one that came before does so at once. */
  begin(app: App, config: Config): void;
  close(): void;
}

/** Watches the config from before it is first read, so that no change falls between reading and watching. */
function createReloads(file: string, logger: Logger): Reloads {
  let current: Config | undefined;
  let running: Promise<void> | undefined;
  let app: App | undefined;
  let changedBefore = false;

  // One after the other, so that the last change is the last to be served.
  const onChange = (): void => {
    if (app === undefined) {
      changedBefore = true;
      return;
    }
    const served = app;
    running = (running ?? Promise.resolve())
      .then(async () => {
        current = (await reload(file, served, logger)) ?? current;
        watcher.look();
      })
      .catch((error: unknown) => {
        served.reloadFailed();
        logger.error({ config: file, err: error }, 'config not reloaded: the one before serves on');
      });
  };
  const watcher = watchFiles({ files: () => [file, ...tlsFiles(current)], onChange, logger });
  process.on('SIGHUP', onChange);
  return {
    begin(started, config) {
      app = started;
      current = config;
      // So that files which the config names are known before they change.
      watcher.look();
      if (changedBefore) onChange();
    },
    close() {
      watcher.close();
      process.off('SIGHUP', onChange);
    },
  };
}

/** @returns the config that is served now, undefined where it is still the one before */
async function reload(file: string, app: App, logger: Logger): Promise<Config | undefined> {
  const { config, problems } = await loadConfig(file);
  app.rereadTls();
  logProblems(logger, problems);
  if (config === undefined) {
    app.reloadFailed();
    logger.error({ config: file, errors: problems.length }, 'config not reloaded: the one before serves on');
    return undefined;
  }
  logger.level = config.log.level;
  const waiting = app.reload(config);
  if (waiting.length > 0) logger.warn({ keys: waiting }, 'these keys change with a restart only');
  logger.info({ config: file, routes: config.routes.length }, 'config reloaded');
  return config;
}

/** Secrets, keys and tokens are read when they are used; TLS files belong to connections and are watched. */
function tlsFiles(config: Config | undefined): string[] {
  if (config === undefined) return [];
  const all: readonly (TlsFiles | undefined)[] = [...config.routes, ...config.authorizationServers].map(
    ({ tls }) => tls,
  );
  return all.flatMap((tls) => [tls?.ca, tls?.certificate, tls?.privateKey]).filter((path) => path !== undefined);
}

function logProblems(logger: Logger, problems: readonly Problem[]): void {
  for (const problem of problems) {
    const { severity, line, column, path } = problem;
    const fields = { line, column, path };
    if (severity === 'error') logger.error(fields, formatProblem(problem));
    else logger.warn(fields, formatProblem(problem));
  }
}

/** Settles with the first signal to stop; a second one ends the process at once. */
function onceStopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let seen = false;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (seen) process.exit(EXIT.failed);
        seen = true;
        resolve(signal);
      });
    }
  });
}

/** A fault that nobody caught: said in the log, redacted, and the end, since nothing can be relied on after it. */
function endOnFault(logger: Logger): void {
  const end = (error: unknown): void => {
    logger.fatal({ err: error }, 'cambist ends: a fault of its own');
    process.exit(EXIT.failed);
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
}
