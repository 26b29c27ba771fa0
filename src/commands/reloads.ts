import type { App } from '../app.ts';
import { type Config, LOG_LEVELS, type LogLevel, tlsListeners } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import type { Logger } from '../observability/logger.ts';
import { watchFiles } from '../secrets/watch.ts';
import { readTeams } from '../teams/team-files.ts';
import { UsageError } from './command.ts';
import { logProblems, logTeam } from './report-problems.ts';
import { createTeamReloads, type Served, tlsOf } from './team-reloads.ts';

/** Watches the config file. Call it before the first read, so that no change is missed. */
export function createReloads(file: string, logger: Logger) {
  let served: Served | undefined;
  let teams: ReturnType<typeof createTeamReloads> | undefined;
  let running = Promise.resolve();
  let hasChanged = false;

  /** Runs one change after the other, so that the last one wins. */
  function inTurn(change: () => void | Promise<void>): Promise<void> {
    const changing = running.then(change);
    running = changing.catch(() => undefined);
    return changing;
  }

  const onChange = (): void => {
    const now = served;
    hasChanged = true;
    if (now === undefined) return;
    inTurn(async () => {
      now.config = (await reload(file, now, logger)) ?? now.config;
      teams?.watch();
      await watcher.check();
    }).catch((error: unknown) => {
      now.app.reloadFailed();
      logger.error({ config: file, err: error }, 'config reload failed; keeping the previous config');
    });
  };

  const watcher = watchFiles({ files: () => [file, ...(served ? tlsFiles(served.config) : [])], onChange, logger });
  process.on('SIGHUP', onChange);
  return {
    /** Applies changes from now on to the app, which serves this config. An earlier change is applied at once. */
    begin(app: App, config: Config): void {
      served = { app, config };
      teams = createTeamReloads(served, inTurn, logger);
      teams.watch();
      // Takes note of the files in the config before they change.
      void watcher.check();
      if (hasChanged) onChange();
    },
    close(): void {
      watcher.close();
      teams?.close();
      process.off('SIGHUP', onChange);
    },
  };
}

/** @returns the new config, or undefined if the previous one stays active */
async function reload(file: string, { app, config: { teams } }: Served, logger: Logger): Promise<Config | undefined> {
  const loaded = await loadConfig(file, { needsVariables: true, isReload: true });
  const { config, problems } = await readTeams(loaded, teams);
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
  for (const team of config.teams) if (!team.isOpen) logTeam(logger, team);
  return config;
}

/** TLS files belong to connections and are watched. Those of teams are watched with their folders. Secrets, keys and tokens are checked when they are used. */
function tlsFiles(config: Config): string[] {
  return [
    ...tlsOf([...config.routes.filter(({ team }) => team === undefined), ...config.authorizationServers]),
    ...tlsListeners(config)
      .flatMap(({ tls }) => [tls.certificate, tls.privateKey, tls.clientCa])
      .filter((path) => path !== undefined),
  ];
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
