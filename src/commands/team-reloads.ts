import { setTimeout as delay } from 'node:timers/promises';
import type { App } from '../app.ts';
import type { Config } from '../config/config.ts';
import { pathsOf, type TlsFiles } from '../config/kinds.ts';
import type { Team } from '../config/teams.ts';
import type { Logger } from '../observability/logger.ts';
import { watchFiles } from '../secrets/watch.ts';
import { readTeam, withTeams } from '../teams/team-files.ts';
import { logTeam } from './report-problems.ts';

/** The running app, and the config that it serves. A reload replaces the config. */
export interface Served {
  readonly app: App;
  config: Config;
}

interface TeamFolder {
  readonly watcher: ReturnType<typeof watchFiles>;
  /** Since it was last read. */
  hasChanged: boolean;
  isBeingRead: boolean;
}

/** Reloads the folders of teams. @param inTurn runs a change after all earlier ones */
export function createTeamReloads(served: Served, inTurn: (change: () => void) => Promise<void>, logger: Logger) {
  /** The folders by name of the team. */
  const folders = new Map<string, TeamFolder>();

  function watch(): void {
    const names = new Set(served.config.teams.map(({ grants }) => grants.name));
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
      served.app.rereadTls(paths.filter((path) => changed.includes(path)));
      void readChanges(name);
    };
    const watcher = watchFiles({ files: () => watchedFiles(teamNamed(name)), onChange, logger });
    return { watcher, hasChanged: false, isBeingRead: false };
  }

  /** Reads a folder beside other reloads, once for all changes meanwhile. A pause in proportion follows, because parsing blocks all requests. */
  async function readChanges(name: string): Promise<void> {
    const folder = folders.get(name);
    if (folder === undefined) return;
    folder.hasChanged = true;
    if (folder.isBeingRead) return;
    folder.isBeingRead = true;
    while (folder.hasChanged && folders.get(name) === folder) {
      folder.hasChanged = false;
      const workMs = await readFolder(name).catch((error: unknown) => {
        logger.error({ err: error }, 'reading routes of a team failed; keeping them');
        return 0;
      });
      await folder.watcher.check();
      await delay(REST * workMs, undefined, { ref: false });
    }
    folder.isBeingRead = false;
  }

  /** @returns the CPU that it took, without that of other reloads. The time on the clock would be far more on a busy machine */
  async function readFolder(name: string): Promise<number> {
    const start = process.cpuUsage();
    const team = teamNamed(name);
    const read = team && (await readTeam(team));
    let workMs = cpuMsSince(start);
    await inTurn(() => {
      const applyStart = process.cpuUsage();
      if (read !== undefined) applyTeam(read);
      workMs += cpuMsSince(applyStart);
    });
    return workMs;
  }

  const teamNamed = (name: string) => served.config.teams.find(({ grants }) => grants.name === name);

  function applyTeam(read: Team): void {
    const before = teamNamed(read.grants.name);
    // It is the same object if nothing changed. A reload of the main file may have replaced its entry meanwhile.
    if (before?.grants !== read.grants || before === read) return;
    const teams = served.config.teams.map((each) => (each === before ? read : each));
    const next = withTeams(served.config, teams);
    served.app.reload(next, true);
    served.config = next;
    // Nothing watched them while the region was closed.
    const watched = new Set(tlsOf(before.routes));
    served.app.rereadTls(tlsOf(read.routes).filter((path) => !watched.has(path)));
    logTeam(logger, read);
  }

  function close(): void {
    for (const { watcher } of folders.values()) watcher.close();
  }
  return { watch, close };
}

/** Ten times the CPU of a reading is left to requests. */
const REST = 10;

function cpuMsSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

/** The folder changes with the names in it, and with the link that Kubernetes replaces. */
const watchedFiles = (team: Team | undefined): string[] =>
  team === undefined ? [] : [team.grants.folder, ...team.files.map(({ path }) => path), ...tlsOf(team.routes)];

export function tlsOf(peers: readonly { readonly tls: TlsFiles | undefined }[]): string[] {
  return peers.flatMap(({ tls }) => (tls === undefined ? [] : pathsOf(tls)));
}
