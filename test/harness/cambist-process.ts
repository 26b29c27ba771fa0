import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { type Labels, sumSamples } from './metric-samples.ts';
import { type OutputRecord, recordOutput } from './process-output.ts';
import { BUILT_PROGRAM } from './run-command.ts';

/** A config as it stands in the file, in its own names; or its text. */
export type ConfigContent = Readonly<Record<string, unknown>> | string;

export interface CambistOptions {
  /** An object gets `version` and, where it names no others, free ports. A function is told the config's directory. */
  config: ConfigContent | ((directory: string) => ConfigContent);
  /** Written beside the config before the start: secrets, keys, tokens. */
  files?: Readonly<Record<string, string>>;
  env?: Readonly<Record<string, string>>;
  startTimeoutMs?: number;
  /** Otherwise the built program on this Node. */
  launch?: Launch;
}

/** The command line that starts cambist on a config file, which has its directory to itself. */
export type Launch = (configFile: string, directory: string) => Promise<readonly [string, ...string[]]>;

export interface ProcessExit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface CambistProcess extends OutputRecord {
  /** Where it listens: `http://127.0.0.1:…` or `unix:/path`. */
  url: string;
  adminUrl: string;
  pid: number;
  /** Holds the config and `files`; removed at close. */
  directory: string;
  configFile: string;
  exit: Promise<ProcessExit>;
  /** Settles when `/readyz` says 200. */
  ready(timeoutMs?: number): Promise<void>;
  metrics(): Promise<string>;
  /** The sum over all samples that bear these labels. */
  metric(name: string, labels?: Labels): Promise<number>;
  /** Replaces the config file in one step. */
  rewriteConfig(content: ConfigContent): Promise<void>;
  signal(signal: NodeJS.Signals): void;
  /** SIGTERM, once more if it drains for long, and SIGKILL if nothing else ends it. */
  close(): Promise<void>;
}

const START_TIMEOUT_MS = 10_000;
const READY_TIMEOUT_MS = 10_000;
const POLL_INTERVAL_MS = 20;
/** The second SIGTERM ends the drain of a stream that a test left open; unlike SIGKILL it lets coverage be written. */
const DRAIN_TIMEOUT_MS = 2_000;
const CLOSE_TIMEOUT_MS = 8_000;

/** The line that says what is served where. */
const START_MESSAGE = 'cambist is listening';

/**
 * Starts the built program and waits until it listens.
 * @throws Error with all that it printed, when it ends before that or takes too long
 */
export async function startCambist(options: CambistOptions): Promise<CambistProcess> {
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
  const exit = exitOf(child);
  const output = recordOutput(child);
  const close = async () => {
    await stop(child, exit);
    await rm(directory, { recursive: true, force: true });
  };
  const started = await output
    .waitForLog(({ msg }) => msg === START_MESSAGE, options.startTimeoutMs ?? START_TIMEOUT_MS)
    .catch(async (error: Error) => {
      await close();
      throw new Error(`${error.message}\nstdout: ${output.stdout()}\nstderr: ${output.stderr()}`);
    });
  const adminUrl = String(started.admin);
  const metrics = async () => (await fetch(`${adminUrl}/metrics`)).text();
  return {
    ...output,
    url: String(started.listen),
    adminUrl,
    pid: child.pid ?? 0,
    directory,
    configFile,
    exit,
    ready: (timeoutMs = READY_TIMEOUT_MS) => pollReady(`${adminUrl}/readyz`, timeoutMs, output),
    metrics,
    metric: async (name, labels) => sumSamples(await metrics(), name, labels),
    rewriteConfig,
    signal: (signal) => void child.kill(signal),
    close,
  };
}

const launchBuilt: Launch = async (configFile) => [process.execPath, BUILT_PROGRAM, 'run', '--config', configFile];

function asText(content: ConfigContent): string {
  if (typeof content === 'string') return content;
  return stringify({ version: 1, listen: '127.0.0.1:0', admin: '127.0.0.1:0', ...content });
}

function exitOf(child: ChildProcess): Promise<ProcessExit> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    // `close`, unlike `exit`, comes after the last of the output.
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
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

async function pollReady(url: string, timeoutMs: number, output: OutputRecord): Promise<void> {
  const deadlineMs = Date.now() + timeoutMs;
  let answer = 'no answer';
  while (Date.now() < deadlineMs) {
    answer = await fetch(url).then(
      async (response) => `${response.status} ${await response.text()}`,
      (error: Error) => error.message,
    );
    if (answer.startsWith('200 ')) return;
    await delay(POLL_INTERVAL_MS);
  }
  throw new Error(`cambist is not ready after ${timeoutMs} ms: ${answer}\nstdout: ${output.stdout()}`);
}
