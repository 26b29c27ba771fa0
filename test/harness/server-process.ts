import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { Agent, request } from 'undici';

export interface ServerProcess {
  /** All that it printed. */
  output(): string;
  close(): Promise<void>;
}

export interface ServerOptions {
  command: string;
  args: readonly string[];
  env?: Readonly<Record<string, string>>;
  cwd: string;
  /** Answers 200 when the server is ready. */
  readyUrl: string;
  /** Where that is https: PEM that is trusted, and nothing else. */
  ca?: string;
  startTimeoutMs: number;
}

const POLL_INTERVAL_MS = 200;
const STOP_TIMEOUT_MS = 15_000;

/**
 * Starts a server of another make and waits until it answers.
 * @throws Error with all that it printed where it ends before that, or takes too long
 */
export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const { command, args, cwd, env = {}, readyUrl, ca, startTimeoutMs } = options;
  const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = new Error(`"${command}" is not on this machine: install it to run this test`, { cause: error });
  });
  const deadlineMs = Date.now() + startTimeoutMs;
  while (!(await answers(readyUrl, ca))) {
    const ended = child.exitCode !== null || child.signalCode !== null;
    if (failure === undefined && !ended && Date.now() < deadlineMs) {
      await delay(POLL_INTERVAL_MS);
      continue;
    }
    await stop(child);
    throw failure ?? new Error(`${readyUrl} ${ended ? 'ended' : 'is not ready'}:\n${output}`);
  }
  return { output: () => output, close: () => stop(child) };
}

async function answers(url: string, ca: string | undefined): Promise<boolean> {
  const dispatcher = new Agent(ca === undefined ? {} : { connect: { ca } });
  try {
    const { statusCode, body } = await request(url, { dispatcher });
    await body.dump();
    return statusCode === 200;
  } catch {
    return false;
  } finally {
    await dispatcher.close();
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await ended;
  clearTimeout(force);
}
