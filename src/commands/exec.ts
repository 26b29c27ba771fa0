import { type ChildProcess, spawn } from 'node:child_process';
import { openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { isatty } from 'node:tty';
import { parseArgs } from 'node:util';
import { type App, startApp } from '../app.ts';
import type { Config } from '../config/config.ts';
import { errorCode } from '../errors.ts';
import { agentEnvironment } from '../intercept/agent-environment.ts';
import { textLines } from '../observability/log-text.ts';
import { createLogger, type LogDestination, type Logger } from '../observability/logger.ts';
import { readVersion } from '../version.ts';
import { type Command, configFile, EXIT, messageOf, UsageError } from './command.ts';
import { logLevelOf } from './reloads.ts';
import { loadOrReport, logProblems, showsColour } from './report-problems.ts';
import { USAGES } from './usages.ts';

/** One command needs no more. The default would be a warning about the limit of open files at each start. */
const MAX_CONNECTIONS = 1000;

const FREE_PORT = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

const WAYS_IN =
  'if it called a backend, compare its runtime with the table in config/intercept.md#try-it-with-your-agent';

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
  let code: number = EXIT.failed;
  try {
    const app = await start(loaded.config, trustDir, logger);
    if (app !== undefined) {
      code = await runChild(command, rest, agentEnvironment(process.env, loaded.config, trustDir, app.listen));
      await app.stop(AbortSignal.abort());
      if (!app.wasUsed() && !UNSTARTED.includes(code))
        logger.warn({ fix: WAYS_IN }, 'no request of the command reached a route; it may bypass cambist');
    }
  } finally {
    rmSync(trustDir, { recursive: true, force: true });
  }
  // Exits explicitly, because the connections of a proxy that did not start keep the process alive.
  return process.exit(code);
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

/**
 * The log of `exec`: text on standard error, or JSON lines in a file. Standard output belongs to the command. Each line is written at
 * once, because standard error also belongs to the command.
 */
function execLog(file: string | undefined): LogDestination {
  if (file !== undefined) return { write: writer(openLog(file)) };
  const toText = textLines(showsColour(process.stderr));
  const write = writer(process.stderr.fd);
  return { write: (line) => write(`cambist: ${toText(line)}`) };
}

function openLog(file: string): number {
  try {
    return openSync(file, 'a', 0o600);
  } catch (error) {
    throw new UsageError(`--log: cannot write "${file}" (${errorCode(error)})`);
  }
}

/** A lost line must not end the command. */
function writer(fd: number): (text: string) => void {
  return (text) => {
    try {
      writeSync(fd, text);
    } catch {
      // The reader has left, or is slow.
    }
  };
}

/** Signals that end or steer a program, and that another process can send to cambist in its place. */
const FORWARDED: readonly NodeJS.Signals[] = [
  'SIGTERM',
  'SIGINT',
  'SIGQUIT',
  'SIGHUP',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGALRM',
];

/** A terminal sends these to every process in its foreground, the command included. A second one could cut its cleanup short. */
const OF_TERMINAL: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT', 'SIGWINCH']);

/** Exit codes of a shell. */
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const SIGNALLED = 128;

/** Exit codes of a program that did not start. */
const UNSTARTED: readonly number[] = [NOT_EXECUTABLE, NOT_FOUND];

/**
 * Runs a program with the streams and the terminal of this process, and forwards signals to it.
 * @returns its exit code, or 128 and the number of the signal that ended it, as in a shell
 */
function runChild(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'inherit', env });
    const stopForwarding = forwardSignals(child);
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return;
      stopForwarding();
      const isMissing = error.code === 'ENOENT';
      console.error(`cambist: cannot run "${program}": ${isMissing ? 'no such program' : error.code}`);
      resolve(isMissing ? NOT_FOUND : NOT_EXECUTABLE);
    });
    child.once('exit', (code, signal) => {
      stopForwarding();
      resolve(code ?? SIGNALLED + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

function forwardSignals(child: ChildProcess): () => void {
  const handlers = FORWARDED.map((signal) => {
    const handle = (): void => {
      if (!OF_TERMINAL.has(signal) || !isInForeground()) child.kill(signal);
    };
    process.on(signal, handle);
    return [signal, handle] as const;
  });
  return () => {
    for (const [signal, handle] of handlers) process.off(signal, handle);
  };
}

/** True if the terminal sends its signals to this process and to its children. */
function isInForeground(): boolean {
  try {
    // After the name of the program: state, parent, process group, session, terminal, and the group in the terminal's foreground.
    const [, , group, , , foreground] = readFileSync('/proc/self/stat', 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return group === foreground;
  } catch {
    // Not Linux. The streams are not touched, because that would make a pipe non-blocking for the command as well.
    return [0, 1, 2].some((fd) => isatty(fd));
  }
}
