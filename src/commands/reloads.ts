import { setTimeout as delay } from 'node:timers/promises';
import type { App } from '../app.ts';
import type { Config } from '../config/config.ts';
import { LOG_LEVELS, type LogLevel, tlsListeners } from '../config/config.ts';
import { formatProblem, type Problem } from '../config/config-node.ts';
import { pathsOf, type TlsFiles } from '../config/kinds.ts';
import { loadConfig, withTeams } from '../config/load.ts';
import type { Team } from '../config/teams.ts';
import type { Logger } from '../observability/logger.ts';
import { watchFiles } from '../secrets/watch.ts';
import { UsageError } from './command.ts';

interface TeamFolder {
  readonly watcher: ReturnType<typeof watchFiles>;
  /** Since it was last read. */
  hasChanged: boolean;
  isBeingRead: boolean;
}

/** Watches the config file. Call it before the first read, so that no change is missed. */
export function createReloads(file: string, logger: Logger) {
  let current: Config | undefined;
  let running = Promise.resolve();
  let app: App | undefined;
  let changedBefore = false;
  /** The folders by name of the team. */
  const folders = new Map<string, TeamFolder>();

  // One after the other, so that the last change wins.
  const onChange = (): void => {
    if (app === undefined) {
      changedBefore = true;
      return;
    }
    const served = app;
    running = running
      .then(async () => {
        current = (await reload(file, served, logger, current?.teams)) ?? current;
        watchTeams();
        await watcher.check();
      })
      .catch((error: unknown) => {
        served.reloadFailed();
        logger.error({ config: file, err: error }, 'config reload failed; keeping the previous config');
      });
  };

  function watchTeams(): void {
    const names = new Set(current?.teams.map(({ grants }) => grants.name));
    for (const [name, { watcher }] of folders) {
      if (names.has(name)) continue;
      watcher.close();
      folders.delete(name);
    }
    for (const name of names) {
      if (!folders.has(name)) folders.set(name, watchTeam(name));
      // The folder may have changed since the main file was read.
      void readChanges(name);
    }
  }

  /** A folder has a watcher of its own, so that one that never comes to rest does not stop the reloads of others. */
  function watchTeam(name: string): TeamFolder {
    const onChange = (changed: readonly string[]): void => {
      const paths = tlsOf(teamNamed(name)?.routes ?? []);
      app?.rereadTls(paths.filter((path) => changed.includes(path)));
      void readChanges(name);
    };
    const watcher = watchFiles({ files: () => watchedFiles(teamNamed(name)), onChange, logger });
    return { watcher, hasChanged: false, isBeingRead: false };
  }

  /** Reads a folder beside other reloads, once for all changes meanwhile. It rests in proportion, because parsing blocks all requests. */
  async function readChanges(name: string): Promise<void> {
    const folder = folders.get(name);
    if (folder === undefined) return;
    folder.hasChanged = true;
    if (folder.isBeingRead) return;
    folder.isBeingRead = true;
    while (folder.hasChanged && folders.get(name) === folder) {
      folder.hasChanged = false;
      const workMs = await readTeam(name).catch((error: unknown) => {
        logger.error({ err: error }, 'reading routes of a team failed; keeping them');
        return 0;
      });
      await folder.watcher.check();
      await delay(REST * workMs, undefined, { ref: false });
    }
    folder.isBeingRead = false;
  }

  /** @returns the CPU that it took, without that of other reloads. The time on the clock would be far more on a busy machine */
  async function readTeam(name: string): Promise<number> {
    const start = process.cpuUsage();
    const read = await teamNamed(name)?.reread();
    let workMs = cpuMsSince(start);
    const applying = running.then(() => {
      const applyStart = process.cpuUsage();
      if (read !== undefined) applyTeam(read);
      workMs += cpuMsSince(applyStart);
    });
    running = applying.catch(() => undefined);
    await applying;
    return workMs;
  }

  const teamNamed = (name: string) => current?.teams.find(({ grants }) => grants.name === name);

  function applyTeam(read: Team): void {
    const before = teamNamed(read.grants.name);
    // It is the same object if nothing changed. A reload of the main file may have replaced its entry meanwhile.
    if (app === undefined || current === undefined || before?.grants !== read.grants || before === read) return;
    const teams = current.teams.map((each) => (each === before ? read : each));
    const next = withTeams(current, teams);
    app.reload(next, true);
    current = next;
    // Nothing watched them while the region was closed.
    const watched = new Set(tlsOf(before.routes));
    app.rereadTls(tlsOf(read.routes).filter((path) => !watched.has(path)));
    logTeam(logger, read);
  }

  const watcher = watchFiles({ files: () => [file, ...tlsFiles(current)], onChange, logger });
  process.on('SIGHUP', onChange);
  return {
    /** Applies changes from now on to the app, which serves this config. An earlier change is applied at once. */
    begin(started: App, config: Config): void {
      app = started;
      current = config;
      watchTeams();
      // Takes note of the files in the config before they change.
      void watcher.check();
      if (changedBefore) onChange();
    },
    close(): void {
      watcher.close();
      for (const folder of folders.values()) folder.watcher.close();
      process.off('SIGHUP', onChange);
    },
  };
}

/** @returns the new config, or undefined if the previous one stays active */
async function reload(
  file: string,
  app: App,
  logger: Logger,
  teams: readonly Team[] | undefined,
): Promise<Config | undefined> {
  const { config, problems } = await loadConfig(file, { needsVariables: true, isReload: true, teams });
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

/** Ten times the CPU of a reading is left to requests. */
const REST = 10;

function cpuMsSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

/** The folder changes with the names in it, and with the link that Kubernetes replaces. */
function watchedFiles(team: Team | undefined): string[] {
  return team === undefined ? [] : [team.grants.folder, ...team.files.map(({ path }) => path), ...tlsOf(team.routes)];
}

/** A team could fill the log. */
const MAX_LOGGED = 100;

/** Logs the problems of a team's files, and whether its region is open. */
export function logTeam(logger: Logger, { grants: { name }, files, isOpen, routes }: Team): void {
  const problems = files.flatMap((file) => file.problems);
  logProblems(logger, problems.slice(0, MAX_LOGGED), name);
  const more = problems.length - MAX_LOGGED;
  if (more > 0) logger.warn({ team: name }, `and ${more} more problems: run "cambist validate"`);
  if (isOpen) logger.info({ team: name, routes: routes.length }, 'routes of a team loaded');
  else logger.error({ team: name }, 'the routes of a team are invalid; its requests get 503 until they are fixed');
}

/** TLS files belong to connections and are watched. Those of teams are watched with their folders. Secrets, keys and tokens are checked when they are used. */
function tlsFiles(config: Config | undefined): string[] {
  if (config === undefined) return [];
  return [
    ...tlsOf([...config.routes.filter(({ team }) => team === undefined), ...config.authorizationServers]),
    ...tlsListeners(config)
      .flatMap(({ tls }) => [tls.certificate, tls.privateKey, tls.clientCa])
      .filter((path) => path !== undefined),
  ];
}

function tlsOf(peers: readonly { readonly tls: TlsFiles | undefined }[]): string[] {
  return peers.flatMap(({ tls }) => (tls === undefined ? [] : pathsOf(tls)));
}

/** Logs each problem at its severity, with its position if it has one. */
export function logProblems(logger: Logger, problems: readonly Problem[], team?: string): void {
  for (const problem of problems) {
    const { severity, line, column, path } = problem;
    const fields = { ...(line > 0 && { line, column }), ...(path !== '' && { path }), team };
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
