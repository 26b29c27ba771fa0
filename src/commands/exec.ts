import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type App, startApp } from '../app.ts';
import type { Config } from '../config/config.ts';
import { agentEnvironment } from '../intercept/agent-environment.ts';
import { createLogger, type Logger } from '../observability/logger.ts';
import { readVersion } from '../version.ts';
import { type Command, configFile, EXIT, messageOf, UsageError } from './command.ts';
import { execLog } from './exec-log.ts';
import { logLevelOf } from './log-level.ts';
import { loadOrReport } from './print-problems.ts';
import { logProblems } from './reloads.ts';
import { runChild, UNSTARTED } from './run-child.ts';
import { USAGES } from './usages.ts';

/** One command needs no more. The default would be a warning about the limit of open files at each start. */
const MAX_CONNECTIONS = 1000;

const FREE_PORT = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

const WAYS_IN =
  'if it called a backend, compare its runtime with the table in config/intercept.md#try-it-with-your-agent';

/** Runs a command whose HTTP calls go through a proxy of its own. */
export const exec: Command = async (args) => {
  const options = USAGES.exec.flags;
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  const [command, ...rest] = positionals;
  if (command === undefined) throw new UsageError('exec takes a command after "--"');
  const loaded = await loadOrReport(configFile(values.config), { needsVariables: true });
  if (loaded === undefined) return EXIT.failed;

  const logger = createLogger('warn', execLog(values.log));
  if (values.log !== undefined || process.env.CAMBIST_LOG_LEVEL !== undefined) logger.level = logLevelOf(loaded.config);
  logProblems(logger, loaded.problems);
  const trustDir = await mkdtemp(join(tmpdir(), 'cambist-exec-'));
  try {
    const app = await start(loaded.config, trustDir, logger);
    if (app === undefined) return EXIT.failed;
    const env = agentEnvironment(process.env, loaded.config, trustDir, app.listen);
    const code = await runChild(command, rest, env);
    await app.stop(AbortSignal.abort());
    if (!app.wasUsed() && !UNSTARTED.includes(code))
      logger.warn({ fix: WAYS_IN }, 'no request of the command reached a route; it may bypass cambist');
    return code;
  } finally {
    rmSync(trustDir, { recursive: true, force: true });
  }
};

/** @returns undefined if it cannot start, which is reported */
async function start(config: Config, trustDir: string, logger: Logger): Promise<App | undefined> {
  const intercept = { ca: config.intercept?.ca ?? ({ kind: 'ephemeral' } as const), trustDir, listen: [] };
  const limits = { ...config.limits, maxConnections: Math.min(config.limits.maxConnections, MAX_CONNECTIONS) };
  try {
    return await startApp({ ...config, limits, listen: FREE_PORT, admin: FREE_PORT, intercept }, readVersion(), logger);
  } catch (error) {
    console.error(messageOf(error));
    return undefined;
  }
}
