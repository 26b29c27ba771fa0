import type { SnippetKind } from '../../../src/decisions/snippets.ts';
import { startTestApp, type WrittenConfig } from '../../harness/app.ts';
import { DECISION_SECRET } from '../../harness/gateway.ts';
import { freePort } from '../../harness/http-server.ts';
import { keepParts, type Lifetime, temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { startServer } from '../../harness/server-process.ts';

/** How Envoy asks; the others ask by HTTP. `ext_authz` is that over gRPC. */
export type By = 'http' | 'ext_authz' | 'ext_proc';

/** A program that forwards requests, and asks cambist about each. */
export interface DataPlane {
  readonly kind: SnippetKind;
  /** Does it take the address of a Unix socket? */
  readonly asksSockets: boolean;
  /** The status while cambist is down. */
  readonly downStatus: number;
  /** The largest body that the snippet lets pass. */
  readonly bodyLimit?: number;
  /** Writes the snippet into the folder, with addresses that are free. @returns the command that runs it */
  prepare(snippet: Snippet): Promise<readonly [string, ...string[]]>;
}

export interface Snippet {
  readonly text: string;
  readonly folder: string;
  /** The port for the one in the snippet. */
  readonly port: number;
}

/** Runs a snippet as it is, but for addresses. @param path of a route @returns its URL */
export async function startDataPlane(t: Lifetime, plane: DataPlane, text: string, path = '/github'): Promise<string> {
  const [folder, port] = [temporaryFolder(t), await freePort()];
  const [command, ...args] = await plane.prepare({ text, folder, port });
  const url = `http://127.0.0.1:${port}`;
  // Traefik listens before it knows its routes.
  const readyUrl = async () => (await fetch(url + path)).status !== 404;
  const options = { command, args, cwd: folder, env: { HOME: folder }, readyUrl, stopSignal: 'SIGKILL' } as const;
  t.after((await startServer(options)).close);
  return url;
}

/** The key of `decisions` that has the listener. */
export const listenerOf = (by: By) => (by === 'http' ? 'http' : 'grpc');

/** A listener for a data plane that asks over a Unix socket, or over TCP with the secret. */
export async function decisionListener(folder: string, isUnix: boolean) {
  if (isUnix) return { listen: `unix:${folder}/decisions.sock` };
  return { listen: `127.0.0.1:${await freePort()}`, secret: writerInto(folder)('secret', DECISION_SECRET) };
}

/** cambist that a test stops and starts again. */
export function restartable() {
  let lifetime = keepParts();
  return {
    start: (config: WrittenConfig) => startTestApp(lifetime, config),
    async stop(): Promise<void> {
      await lifetime.close();
      lifetime = keepParts();
    },
  };
}

/** The files of a snippet, each after a line with its name. */
export function filesOf(text: string): Record<string, string> {
  const [, ...parts] = text.split(/^# file: (.*)\n/m);
  return Object.fromEntries(parts.flatMap((name, at) => (at % 2 === 0 ? [[name, parts[at + 1] ?? '']] : [])));
}
