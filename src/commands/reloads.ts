import type { App } from '../app.ts';
import type { Config, TlsFiles } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { formatProblem, type Problem } from '../config/problem.ts';
import type { Logger } from '../observability/logger.ts';
import { watchFiles } from '../secrets/watch.ts';
import { logLevelOf } from './log-level.ts';

/** Takes changes of the config to the app that serves it. */
export interface Reloads {
  /** From now on changes reach the app, which serves this config; one that came before does so at once. */
  begin(app: App, config: Config): void;
  close(): void;
}

/** Watches the config from before it is first read, so that no change falls between reading and watching. */
export function createReloads(file: string, logger: Logger): Reloads {
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
        await watcher.check();
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
      void watcher.check();
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
  const { config, problems } = await loadConfig(file, { needsVariables: true });
  app.rereadTls();
  logProblems(logger, problems);
  if (config === undefined) {
    app.reloadFailed();
    const errors = problems.filter(({ severity }) => severity === 'error').length;
    logger.error({ config: file, errors }, 'config not reloaded: the one before serves on');
    return undefined;
  }
  logger.level = logLevelOf(config);
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

/** A line for each problem, as severe as it is, with its place where it has one. */
export function logProblems(logger: Logger, problems: readonly Problem[]): void {
  for (const problem of problems) {
    const { severity, line, column, path } = problem;
    const fields = { ...(line > 0 && { line, column }), ...(path !== '' && { path }) };
    if (severity === 'error') logger.error(fields, formatProblem(problem));
    else logger.warn(fields, formatProblem(problem));
  }
}
