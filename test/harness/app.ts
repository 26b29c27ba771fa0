import type { StatusReport } from '../../src/admin/status-report.ts';
import { startApp } from '../../src/app.ts';
import type { Config } from '../../src/config/config.ts';
import { checkConfig, type LoadedConfig, parseConfig } from '../../src/config/load.ts';
import type { Team } from '../../src/config/teams.ts';
import { formatProblem } from '../../src/documents/config-node.ts';
import { createLogger } from '../../src/observability/logger.ts';
import type { ReadinessReport } from '../../src/observability/readiness.ts';
import { readTeams } from '../../src/teams/team-files.ts';
import type { LogLine } from './cambist-process.ts';
import { eventually } from './eventually.ts';
import { recordLogged } from './leaks.ts';
import type { Lifetime } from './lifetime.ts';
import { type Labels, sumSamples } from './metric-samples.ts';

/** The app in this process, on available ports of 127.0.0.1. */
export type RunningApp = Awaited<ReturnType<typeof startTestApp>>;

/** A config as in a file. `version` and the addresses are added. */
export type WrittenConfig = Readonly<Record<string, unknown>>;

/** A route with the path of its name. */
export function routeTo(name: string, upstream: string | undefined, keys: object = {}) {
  return { name, match: { path: `/${name}` }, upstream, ...keys };
}

const FREE_PORT = '127.0.0.1:0';

/** @throws Error with all problems of the config, if it has errors */
export function configOf(written: WrittenConfig): Config {
  return configIn(parseConfig(textOf(written), 'test.yaml'));
}

/** The config with the routes of its teams as they are now. @param teams as they were before */
export async function readConfigOf(written: WrittenConfig, teams: readonly Team[] = []): Promise<Config> {
  return configIn(await readTeams(await checkConfig(textOf(written), 'test.yaml'), teams));
}

function textOf(written: WrittenConfig): string {
  return JSON.stringify({ version: 1, listen: FREE_PORT, admin: FREE_PORT, ...written });
}

function configIn({ config, problems }: LoadedConfig): Config {
  if (config === undefined) throw new Error(problems.map(formatProblem).join('\n'));
  return config;
}

/** Starts the app, and stops it after the test. */
export async function startTestApp(t: Lifetime, written: WrittenConfig) {
  const lines: string[] = [];
  const logger = createLogger('info', { write: (line: string) => void lines.push(line) });
  const app = await startApp(configOf(written), 'test', logger);
  let stopping: Promise<void> | undefined;
  const stop = (hurry?: AbortSignal): Promise<void> => {
    stopping ??= app.stop(hurry).then(() => recordLogged(lines.join('')));
    return stopping;
  };
  // Kept-alive connections of clients would delay the end of each test.
  t.after(() => stop(AbortSignal.abort()));
  const logs = () => lines.map((line) => JSON.parse(line) as LogLine);
  const metrics = async () => (await fetch(`${app.admin}/metrics`)).text();
  /** The sum of all samples of a metric that have at least these labels. */
  const metric = async (name: string, labels?: Labels) => sumSamples(await metrics(), name, labels);
  return {
    ...app,
    stop,
    url: app.listen,
    get logs(): readonly LogLine[] {
      return logs();
    },
    logText: () => lines.join(''),
    /** Waits for so many log lines with a message. */
    async logged(message: string, count = 1) {
      const found = () => logs().filter(({ msg }) => msg === message);
      await eventually(`${count} log lines "${message}"`, () => found().length >= count);
      return found();
    },
    metrics,
    metric,
    /** Waits until a metric has this value. */
    metricBecomes: (name: string, value: number, labels?: Labels) =>
      eventually(`${name} is ${value}`, async () => (await metric(name, labels)) === value),
    async readiness() {
      const response = await fetch(`${app.admin}/readyz`);
      return { status: response.status, ...((await response.json()) as ReadinessReport) };
    },
    status: async () => (await (await fetch(`${app.admin}/status.json`)).json()) as StatusReport,
    /** Reloads the config. @returns the changed keys that require a restart */
    reloadTo: (next: WrittenConfig): readonly string[] => app.reload(configOf(next)),
  };
}
