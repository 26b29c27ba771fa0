import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';

export type ServerProcess = Awaited<ReturnType<typeof startServer>>;

export interface ServerOptions {
  command: string;
  args: readonly string[];
  env?: Readonly<Record<string, string>>;
  cwd: string;
  /** Returns 200 when the server is ready. A function looks in another way, and may throw. */
  readyUrl: string | (() => Promise<boolean>);
  /** The only trusted CA of an https `readyUrl`, in PEM format. */
  ca?: string;
  /** Only a failing test waits this long. */
  startTimeoutMs?: number;
  stopSignal?: NodeJS.Signals;
}

const START_TIMEOUT_MS = 300_000;
const POLL_INTERVAL_MS = 200;
const STOP_TIMEOUT_MS = 15_000;

/**
 * Starts another program and waits until it is ready.
 * @throws Error with the output, if it exits early or takes too long
 */
export async function startServer(options: ServerOptions) {
  const { command, args, cwd, env = {}, readyUrl, ca, startTimeoutMs = START_TIMEOUT_MS, stopSignal } = options;
  const isUp = typeof readyUrl === 'string' ? () => isReady(readyUrl, ca) : readyUrl;
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = new Error(`"${command}" is missing: install it to run this test`, { cause: error });
  });
  const deadlineMs = Date.now() + startTimeoutMs;
  while (!(await isUp().catch(() => false))) {
    const hasExited = child.exitCode !== null || child.signalCode !== null;
    if (failure === undefined && !hasExited && Date.now() < deadlineMs) {
      await delay(POLL_INTERVAL_MS);
      continue;
    }
    await stopProcess(child);
    throw failure ?? new Error(`${command}: the server ${hasExited ? 'exited' : 'is not ready'}:\n${output}`);
  }
  return {
    output: () => output,
    signal: (signal: NodeJS.Signals): void => void child.kill(signal),
    close: () => stopProcess(child, stopSignal),
  };
}

async function isReady(url: string, ca: string | undefined): Promise<boolean> {
  const dispatcher = new Agent(ca === undefined ? {} : { connect: { ca } });
  try {
    const { statusCode, body } = await request(url, { dispatcher });
    await body.dump();
    return statusCode === 200;
  } finally {
    await dispatcher.close();
  }
}

/** Kills it if it does not end soon. */
export async function stopProcess(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(force);
}
