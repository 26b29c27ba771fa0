import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { eventually } from '../../harness/eventually.ts';
import { stopProcess } from '../../harness/server-process.ts';
import { type ProgramName, programFile } from '../processes.ts';
import { PROBE_PATH, type ProxyOptions } from '../programs/proxy-options.ts';

/** The settings of a proxy. */
export interface Setup {
  /** The origin of the upstream. */
  readonly origin: string;
  /** The CA of an upstream with TLS, as a PEM file. */
  readonly caFile: string | undefined;
  readonly issuer: string;
  /** The number of routes: `/r0`, `/r1`, and so on. */
  readonly routes: number;
  /** A new folder for the proxy's own files. */
  readonly directory: string;
  /** Runs a program on Node, on the proxy's core. */
  launch(args: readonly string[], options: SpawnOptions): Promise<ChildProcess>;
  /** `main.js` of cambist as in the image, if the proxy runs as in the image. */
  readonly imageProgram: string | undefined;
  /** The proxy terminates TLS of its callers for this host. */
  readonly intercepted: InterceptedHost | undefined;
  /** The proxy's own listener has TLS. */
  readonly listenTls: (InterceptedHost & { readonly isMutual: boolean }) | undefined;
}

/** Callers by TLS name it. */
export interface InterceptedHost {
  readonly host: string;
  /** PEM files, for a proxy without an authority of its own. */
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

export interface RunningProxy {
  readonly port: number;
  readonly pid: number;
  /** The time from the start of the process until it serves. */
  readonly readyMs: number;
  /** The proxy is asked for decisions: the beginning of every path, and its secret. */
  readonly decisions?: { readonly prefix: string; readonly secret: string };
  /** PEM: the authority of the certificate that callers get, if the proxy terminates their TLS. */
  readonly callerCa?: string;
  close(): Promise<void>;
}

/** A proxy to measure, such as cambist. */
export interface Peer {
  readonly name: string;
  /** The reason why the proxy cannot be measured here, with this Node; undefined if it can. */
  missing(node: string): string | undefined;
  start(setup: Setup): Promise<RunningProxy>;
}

const POLL_INTERVAL_MS = 2;
const READY_TIMEOUT_MS = 15_000;

/** A proxy from the bench's own programs. It is ready when it has responded to a probe, as cambist is. */
function programPeer(name: string, program: ProgramName): Peer {
  return {
    name,
    missing: () => undefined,
    async start(setup) {
      const { origin, caFile, listenTls } = setup;
      const read = (file: string): string => readFileSync(file, 'utf8');
      const callerCa = listenTls && { callerCa: read(listenTls.caFile) };
      const options: ProxyOptions = {
        origin,
        ...(caFile && { ca: read(caFile) }),
        ...(listenTls && {
          listenTls: {
            cert: read(listenTls.certFile),
            key: read(listenTls.keyFile),
            ...(listenTls.isMutual && { ca: read(listenTls.caFile) }),
          },
        }),
      };
      const startedMs = performance.now();
      const child = await setup.launch([programFile(program), JSON.stringify(options)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const port = Number((await firstLine(child)).split(' ')[1]);
      await until(child, () => (listenTls === undefined ? isReady(port) : accepts(port)));
      return { ...running(child, port, performance.now() - startedMs), ...callerCa };
    },
  };
}

/** Only `node:http` and `undici.dispatch`, with streaming bodies. */
export const bareUndici = programPeer('bare undici', 'undici-proxy');

/** The plugin that cambist uses, configured as in its README. */
export const bareFastify = programPeer('bare @fastify/http-proxy', 'fastify-proxy');

export function running(child: ChildProcess, port: number, readyMs: number): RunningProxy {
  return { port, pid: child.pid ?? 0, readyMs, close: () => stopProcess(child) };
}

/** @throws Error if the process exits without a line */
function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) throw new TypeError('the process has no standard output to read');
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', (code) => reject(new Error(`the proxy exited with code ${code} before it listened`)));
  });
}

/** Does the port accept connections? */
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

/** Does the health check on this port succeed? */
export function isReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    get({ host: '127.0.0.1', port, path: PROBE_PATH, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    }).once('error', () => resolve(false));
  });
}

/** Waits until a process serves. @throws Error if it exits or takes too long; it is then terminated */
export async function until(child: ChildProcess, isReady: () => Promise<boolean>): Promise<void> {
  const isServing = (): Promise<boolean> => {
    if (child.exitCode !== null) throw new Error(`the proxy exited with code ${child.exitCode} before it served`);
    return isReady();
  };
  try {
    await eventually('the proxy', isServing, READY_TIMEOUT_MS, POLL_INTERVAL_MS);
  } catch (error) {
    await stopProcess(child);
    throw error;
  }
}
