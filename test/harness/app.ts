import type { TestContext } from 'node:test';
import { type App, startApp } from '../../src/app.ts';
import type { Config } from '../../src/config/config.ts';
import { parseConfig } from '../../src/config/load.ts';
import { formatProblem } from '../../src/config/problem.ts';
import { createLogger } from '../../src/observability/logger.ts';
import type { LogLine } from './process-output.ts';
import { recordLogged } from './suite-record.ts';

/** The app in this process, on free ports of loopback. */
export interface RunningApp extends App {
  /** Where the agent connects, without a slash at the end. */
  readonly url: string;
  readonly logs: readonly LogLine[];
  /** All that was logged, as it was written. */
  logText(): string;
  /** The text of `/metrics`. */
  metrics(): Promise<string>;
  /** Serves this config from now on. @returns the keys whose change waits for a restart */
  reloadTo(written: WrittenConfig): readonly string[];
}

/** A config as a file would have it, less `version` and the addresses, which are filled in. */
export type WrittenConfig = Readonly<Record<string, unknown>>;

const FREE_PORT = '127.0.0.1:0';

/** @throws Error with every problem of the config that is an error */
export function configOf(written: WrittenConfig): Config {
  const text = JSON.stringify({ version: 1, listen: FREE_PORT, admin: FREE_PORT, ...written });
  const { config, problems } = parseConfig(text, 'test.yaml');
  if (config === undefined) throw new Error(problems.map(formatProblem).join('\n'));
  return config;
}

/** Starts the app; it stops when the test ends. */
export async function startTestApp(t: TestContext, written: WrittenConfig): Promise<RunningApp> {
  const lines: string[] = [];
  const logger = createLogger('debug', { write: (line: string) => void lines.push(line) });
  const app = await startApp(configOf(written), 'test', logger);
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= app.stop().then(() => recordLogged(lines.join('')));
    return stopping;
  };
  t.after(stop);
  return {
    ...app,
    stop,
    url: app.listen,
    get logs() {
      return lines.map((line) => JSON.parse(line) as LogLine);
    },
    logText: () => lines.join(''),
    metrics: async () => (await fetch(`${app.admin}/metrics`)).text(),
    reloadTo: (next) => app.reload(configOf(next)),
  };
}
