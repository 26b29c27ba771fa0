import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { startPinned } from '../processes.ts';
import type { ProxyOptions } from '../programs/proxy-options.ts';
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
  /** The program that runs a proxy of Node. */
  readonly node: string;
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
export function programPeer(
  name: string,
  program: ProgramName,
  more: (setup: Setup) => Partial<ProxyOptions> = () => ({}),
): Peer {
  return {
    name,
    missing: () => undefined,
    async start(setup) {
      const { origin, caFile, node } = setup;
      const options: ProxyOptions = { origin, ...more(setup), ...(caFile && { ca: readFileSync(caFile, 'utf8') }) };
      const startedMs = performance.now();
      const child = startPinned('proxy', node, [programFile(program), JSON.stringify(options)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const line = await firstLine(child);
      return running(child, Number(line.split(' ')[1]), performance.now() - startedMs);
    },
  };
}

export function running(child: ChildProcess, port: number, readyMs: number): RunningProxy {
  return { port, pid: child.pid ?? 0, readyMs, close: () => endProcess(child) };
}

/** @throws Error where the process ends without one */
function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new TypeError('the process has no standard output to read');
    createInterface({ input: child.stdout }).once('line', resolve);
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

/** Waits until a process serves. @throws Error where it ends or takes too long; it is gone then */
export async function until(child: ChildProcess, isSo: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + READY_TIMEOUT_MS;
  while (!(await isSo())) {
    if (child.exitCode !== null) throw new Error(`the proxy ended with ${child.exitCode} before it served`);
    if (performance.now() > endMs) {
      await endProcess(child);
      throw new Error(`the proxy does not serve after ${READY_TIMEOUT_MS} ms`);
    }
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
