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
  /** Returns 200 when the server is ready. */
  readyUrl: string;
  /** The only trusted CA of an https `readyUrl`, in PEM format. */
  ca?: string;
  startTimeoutMs: number;
}

const POLL_INTERVAL_MS = 200;
const STOP_TIMEOUT_MS = 15_000;

/**
 * Starts another program and waits until it is ready.
 * @throws Error with the output, if it exits early or takes too long
 */
export async function startServer(options: ServerOptions) {
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
    failure = new Error(`"${command}" is missing: install it to run this test`, { cause: error });
  });
  const deadlineMs = Date.now() + startTimeoutMs;
  while (!(await isReady(readyUrl, ca))) {
    const hasExited = child.exitCode !== null || child.signalCode !== null;
    if (failure === undefined && !hasExited && Date.now() < deadlineMs) {
      await delay(POLL_INTERVAL_MS);
      continue;
    }
    await stop(child);
    throw failure ?? new Error(`${readyUrl}: the server ${hasExited ? 'exited' : 'is not ready'}:\n${output}`);
  }
  return { output: () => output, close: () => stop(child) };
}

async function isReady(url: string, ca: string | undefined): Promise<boolean> {
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
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(force);
}
