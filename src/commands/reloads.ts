import type { App } from '../app.ts';
import type { Config } from '../config/config.ts';
import { LOG_LEVELS, type LogLevel, tlsListeners } from '../config/config.ts';
import { formatProblem, type Problem } from '../config/config-node.ts';
import type { TlsFiles } from '../config/kinds.ts';
import { loadConfig } from '../config/load.ts';
import type { Logger } from '../observability/logger.ts';
import { watchFiles } from '../secrets/watch.ts';
import { UsageError } from './command.ts';

/** Watches the config file. Call it before the first read, so that no change is missed. */
export function createReloads(file: string, logger: Logger) {
  let current: Config | undefined;
  let running: Promise<void> | undefined;
  let app: App | undefined;
  let changedBefore = false;

  // One after the other, so that the last change wins.
  const onChange = (): void => {
    if (app === undefined) {
      changedBefore = true;
      return;
    }
    const served = app;
    running = (running ?? Promise.resolve())
      .then(async () => {
        current = (await reload(file, served, logger)) ?? current;
        await watcher.check();
      })
      .catch((error: unknown) => {
        served.reloadFailed();
        logger.error({ config: file, err: error }, 'config reload failed; keeping the previous config');
      });
  };
  const watcher = watchFiles({ files: () => [file, ...tlsFiles(current)], onChange, logger });
  process.on('SIGHUP', onChange);
  return {
    /** Applies changes from now on to the app, which serves this config. An earlier change is applied at once. */
    begin(started: App, config: Config): void {
      app = started;
      current = config;
      // Takes note of the files in the config before they change.
      void watcher.check();
      if (changedBefore) onChange();
    },
    close(): void {
      watcher.close();
      process.off('SIGHUP', onChange);
    },
  };
}

/** @returns the new config, or undefined if the previous one stays active */
async function reload(file: string, app: App, logger: Logger): Promise<Config | undefined> {
  const { config, problems } = await loadConfig(file, { needsVariables: true, isReload: true });
  app.reopenFiles();
  logProblems(logger, problems);
  if (config === undefined) {
    app.reloadFailed();
    const errors = problems.filter(({ severity }) => severity === 'error').length;
    logger.error({ config: file, errors }, 'config reload failed; keeping the previous config');
    return undefined;
  }
  app.logLevel.configure(logLevelOf(config));
  const waiting = app.reload(config);
  if (waiting.length > 0) logger.warn({ keys: waiting }, 'config reloaded in part; these keys need a restart');
  logger.info({ config: file, routes: config.routes.length }, 'config reloaded');
  return config;
}

/** TLS files belong to connections and are watched. Secrets, keys and tokens are checked when they are used. */
function tlsFiles(config: Config | undefined): string[] {
  if (config === undefined) return [];
  const all: readonly (TlsFiles | undefined)[] = [...config.routes, ...config.authorizationServers].map(
    ({ tls }) => tls,
  );
  return [
    ...all.flatMap((tls) => [tls?.ca, tls?.certificate, tls?.privateKey]),
    ...tlsListeners(config).flatMap(({ tls }) => [tls.certificate, tls.privateKey, tls.clientCa]),
  ].filter((path) => path !== undefined);
}

/** Logs each problem at its severity, with its position if it has one. */
export function logProblems(logger: Logger, problems: readonly Problem[]): void {
  for (const problem of problems) {
    const { severity, line, column, path } = problem;
    const fields = { ...(line > 0 && { line, column }), ...(path !== '' && { path }) };
    if (severity === 'error') logger.error(fields, formatProblem(problem));
    else logger.warn(fields, formatProblem(problem));
  }
}

/**
 * The log level: `CAMBIST_LOG_LEVEL`, which an injected pod can set, else that of the config.
 * @throws {UsageError} if the variable is invalid
 */
export function logLevelOf(config: Config): LogLevel {
  const written = process.env.CAMBIST_LOG_LEVEL;
  if (written === undefined) return config.log.level;
  const level = LOG_LEVELS.find((each) => each === written);
  if (level === undefined) throw new UsageError(`invalid CAMBIST_LOG_LEVEL: must be one of ${LOG_LEVELS.join(', ')}`);
  return level;
}
