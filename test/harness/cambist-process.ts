import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { eventually } from './eventually.ts';
import { recordLogged } from './leaks.ts';
import type { Lifetime } from './lifetime.ts';
import { type Labels, sumSamples } from './metric-samples.ts';
import { BUILT_PROGRAM } from './run-command.ts';

/** A JSON log line. */
export type LogLine = Readonly<Record<string, unknown>>;

const LOG_TIMEOUT_MS = 60_000;

export function recordOutput(child: ChildProcess) {
  const out: string[] = [];
  const err: string[] = [];
  const logs: LogLine[] = [];
  let exit: string | undefined;
  onLine(child.stdout, (text) => {
    out.push(text);
    const line = parseLog(text);
    if (line !== undefined) logs.push(line);
  });
  onLine(child.stderr, (text) => err.push(text));
  child.once('close', (code, signal) => {
    exit = `the process exited (${signal ?? `exit code ${code}`})`;
    recordLogged([...out, ...err].join('\n'));
  });
  return {
    stdout: () => out.join('\n'),
    stderr: () => err.join('\n'),
    /** The lines of standard output that contain a JSON object. */
    logs: (): readonly LogLine[] => logs,
    /**
     * Returns the first log line that matches the predicate, and waits for it if necessary.
     * @throws Error on timeout, or if the process exits first
     */
    waitForLog: async (predicate: (line: LogLine) => boolean, timeoutMs = LOG_TIMEOUT_MS): Promise<LogLine> => {
      let found: LogLine | undefined;
      const isLogged = (): boolean => {
        found = logs.find(predicate);
        if (found === undefined && exit !== undefined) throw new Error(`${exit} before the expected log line`);
        return found !== undefined;
      };
      await eventually('the expected log line', isLogged, timeoutMs);
      return found as LogLine;
    },
  };
}

function onLine(stream: ChildProcess['stdout'], take: (line: string) => void): void {
  if (stream !== null) createInterface({ input: stream }).on('line', take);
}

function parseLog(text: string): LogLine | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return undefined;
  }
}

/** A config with the keys of the file, or the text of the file. */
type ConfigContent = Readonly<Record<string, unknown>> | string;

interface CambistOptions {
  /** `version` and missing addresses are added to an object. A function receives the directory of the config. */
  config: ConfigContent | ((directory: string) => ConfigContent);
  /** Files written beside the config before the start: secrets, keys, tokens. */
  files?: Readonly<Record<string, string>>;
  env?: Readonly<Record<string, string>>;
  /** The default runs the built program with this Node. */
  launch?: Launch;
}

/** The command line that starts cambist with a config file. The directory contains nothing else. */
export type Launch = (configFile: string, directory: string) => Promise<readonly [string, ...string[]]>;

interface ProcessExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export type CambistProcess = Awaited<ReturnType<typeof startCambist>>;

/** Only a failing test waits this long. A busy machine takes its time. */
const START_TIMEOUT_MS = 120_000;
const READY_TIMEOUT_MS = 120_000;
const POLL_INTERVAL_MS = 20;
/** A stream that a test left open keeps draining. The second SIGTERM closes it. SIGKILL would prevent writing coverage. */
const DRAIN_TIMEOUT_MS = 500;
const CLOSE_TIMEOUT_MS = 8_000;

const START_MESSAGE = 'cambist is listening';

/**
 * Starts the built program and waits until it listens.
 * @throws Error with the output, if the program exits early or takes too long
 */
export async function startCambist(t: Lifetime, options: CambistOptions) {
  const directory = await mkdtemp(join(tmpdir(), 'cambist-'));
  const configFile = join(directory, 'cambist.yaml');
  for (const [name, content] of Object.entries(options.files ?? {})) await writeFile(join(directory, name), content);
  const { config } = options;
  const rewriteConfig = async (content: ConfigContent) => {
    const draft = join(directory, '.cambist.yaml');
    await writeFile(draft, asText(content));
    await rename(draft, configFile);
  };
  await rewriteConfig(typeof config === 'function' ? config(directory) : config);
  const { launch = launchBuilt } = options;
  const [command, ...args] = await launch(configFile, directory);
  const child = spawn(command, args, {
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  // Unlike `exit`, `close` follows the end of the output.
  const exit: Promise<ProcessExit> = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  const output = recordOutput(child);
  const close = async () => {
    await stop(child, exit);
    await rm(directory, { recursive: true, force: true });
  };
  t.after(close);
  const started = await output
    .waitForLog(({ msg }) => msg === START_MESSAGE, START_TIMEOUT_MS)
    .catch(async (error: Error) => {
      await close();
      throw new Error(`${error.message}\nstdout: ${output.stdout()}\nstderr: ${output.stderr()}`);
    });
  const adminUrl = String(started.admin);
  const metrics = async () => (await fetch(`${adminUrl}/metrics`)).text();
  return {
    ...output,
    /** The listening address: `http://127.0.0.1:…` or `unix:/path`. */
    url: String(started.listen),
    adminUrl,
    /** The address for callers of the agent. Empty without `inbound`. */
    inboundUrl: String(started.inbound ?? ''),
    pid: child.pid ?? 0,
    /** Contains the config and `files`. Removed by `close`. */
    directory,
    configFile,
    exit,
    /** Settles when `/readyz` returns 200. */
    ready: (timeoutMs = READY_TIMEOUT_MS) => pollReady(`${adminUrl}/readyz`, timeoutMs, output),
    metrics,
    /** The sum of all samples with these labels. */
    metric: async (name: string, labels?: Labels) => sumSamples(await metrics(), name, labels),
    /** Replaces the config file atomically. */
    rewriteConfig,
    signal: (signal: NodeJS.Signals) => void child.kill(signal),
    /** Sends SIGTERM, a second SIGTERM if draining takes long, and finally SIGKILL. */
    close,
  };
}

const launchBuilt: Launch = async (configFile) => [process.execPath, BUILT_PROGRAM, 'run', '--config', configFile];

function asText(content: ConfigContent): string {
  if (typeof content === 'string') return content;
  return stringify({ version: 1, listen: '127.0.0.1:0', admin: '127.0.0.1:0', ...content });
}

async function stop(child: ChildProcess, exit: Promise<ProcessExit>): Promise<void> {
  child.kill('SIGTERM');
  const insist = setTimeout(() => child.kill('SIGTERM'), DRAIN_TIMEOUT_MS);
  const force = setTimeout(() => child.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
  await exit.finally(() => {
    clearTimeout(insist);
    clearTimeout(force);
  });
}

async function pollReady(url: string, timeoutMs: number, output: ReturnType<typeof recordOutput>): Promise<void> {
  const deadlineMs = Date.now() + timeoutMs;
  let result = 'no response';
  while (Date.now() < deadlineMs) {
    result = await fetch(url).then(
      async (response) => `${response.status} ${await response.text()}`,
      (error: Error) => error.message,
    );
    if (result.startsWith('200 ')) return;
    await delay(POLL_INTERVAL_MS);
  }
  throw new Error(`cambist is not ready after ${timeoutMs} ms: ${result}\nstdout: ${output.stdout()}`);
}
