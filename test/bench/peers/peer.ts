import type { ChildProcess } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { startPinned } from '../processes.ts';
import { type ProgramName, programFile } from '../programs.ts';

/** What a proxy is to stand before. */
export interface Setup {
  /** Of the upstream: scheme, host, port. */
  readonly origin: string;
  /** PEM file that an upstream with TLS is verified by. */
  readonly caFile: string | undefined;
  readonly issuer: string;
  /** How many routes, at `/r0` and so on. */
  readonly routes: number;
  /** A new one, for the proxy's own files. */
  readonly directory: string;
}

export interface RunningProxy {
  readonly port: number;
  readonly pid: number;
  /** From the start of the process until it served. */
  readonly readyMs: number;
  close(): Promise<void>;
}

/** A proxy to be measured, cambist among them. */
export interface Peer {
  readonly name: string;
  /** Why it cannot be measured here; undefined where it can. */
  missing(): string | undefined;
  start(setup: Setup): Promise<RunningProxy>;
}

const POLL_INTERVAL_MS = 2;
const READY_TIMEOUT_MS = 15_000;
const CLOSE_TIMEOUT_MS = 3_000;

/** A proxy that is one of the bench's own programs. */
export async function startProgram(name: ProgramName, setup: Setup, ca: string | undefined): Promise<RunningProxy> {
  const startedMs = performance.now();
  const options = JSON.stringify({ origin: setup.origin, ...(ca === undefined ? {} : { ca }) });
  const child = startPinned('proxy', process.execPath, [programFile(name), options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = await firstLine(child, (text) => text.startsWith('listening '));
  return running(child, Number(line.split(' ')[1]), performance.now() - startedMs);
}

export function running(child: ChildProcess, port: number, readyMs: number): RunningProxy {
  return { port, pid: child.pid ?? 0, readyMs, close: () => endProcess(child) };
}

/** Reads on to the end after it has found the line: a pipe that nobody empties stops who writes into it. */
export function firstLine(child: ChildProcess, isIt: (line: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    const { stdout } = child;
    if (stdout === null) throw new TypeError('the process has no standard output to read');
    const lines = createInterface({ input: stdout });
    lines.on('line', (line) => {
      if (!isIt(line)) return;
      lines.close();
      stdout.resume();
      resolve(line);
    });
    child.once('exit', (code) => reject(new Error(`the proxy ended with ${code} before it listened`)));
  });
}

/** For a program that cannot say which port it took. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Does somebody listen? */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

export async function until(isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + READY_TIMEOUT_MS;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`the proxy does not serve after ${READY_TIMEOUT_MS} ms`);
    await delay(POLL_INTERVAL_MS);
  }
}

async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const insist = setTimeout(() => child.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
  await ended;
  clearTimeout(insist);
}
