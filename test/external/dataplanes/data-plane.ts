import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { SnippetKind } from '../../../src/decisions/snippets.ts';
import { eventually } from '../../harness/eventually.ts';
import { freePort } from '../../harness/http-server.ts';
import { type Lifetime, temporaryFolder } from '../../harness/lifetime.ts';

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
  /** The secret of the decisions listener. */
  readonly secret: string;
}

/** A busy machine takes its time. */
const START_MS = 120_000;

/** Runs a snippet as it is, but for addresses. @returns its URL */
export async function startDataPlane(t: Lifetime, plane: DataPlane, text: string, secret: string): Promise<string> {
  const [folder, port] = [temporaryFolder(t), await freePort()];
  const [program, ...args] = await plane.prepare({ text, folder, port, secret });
  const child = spawn(program, args, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, HOME: folder },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (more: string) => {
      output += more;
    });
  }
  child.once('error', (error) => {
    output += error;
  });
  t.after(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  });
  const url = `http://127.0.0.1:${port}`;
  await eventually(
    `${plane.kind} listens`,
    () => {
      if (child.exitCode !== null) throw new Error(`${program} exited:\n${output}`);
      // Traefik listens before it knows its routes.
      return fetch(`${url}/github`).then(
        ({ status }) => status !== 404,
        () => false,
      );
    },
    START_MS,
  );
  return url;
}

/** The files of a snippet, each after a line with its name. */
export function filesOf(text: string): Record<string, string> {
  const [, ...parts] = text.split(/^# file: (.*)\n/m);
  return Object.fromEntries(parts.flatMap((name, at) => (at % 2 === 0 ? [[name, parts[at + 1] ?? '']] : [])));
}
