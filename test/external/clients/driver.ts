import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type AgentClient, type AgentSdk, REPLY } from '../../harness/agent-client.ts';
import { deferred } from '../../harness/eventually.ts';

export type Driver = ReturnType<typeof startDriver>;

export interface VisitingSdk {
  readonly name: string;
  connect(url: string, token: string, visit: Visit): Promise<AgentClient>;
}

/** Opens a URL as a user does. */
type Visit = (url: string) => Promise<void>;

type Mode = 'legacy' | 'auto';

interface Message {
  id?: number;
  result?: unknown;
  error?: string;
  progress?: number;
  client?: number;
  updated?: string;
  /** A URL that the user must open. */
  opened?: string;
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
  onProgress: ((progress: number) => void) | undefined;
}

const CLOSE_TIMEOUT_MS = 5_000;

/**
 * Clients in another language. One process has any number of clients. A command is a line of JSON with an `id`. Its reply is a line
 * with the same `id` and a `result` or an `error`. Lines with `progress` can precede the reply. Lines with a `client` and an
 * `updated` resource can arrive at any time.
 */
export function startDriver(program: string, args: readonly string[] = []) {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting = new Map<number, Waiting>();
  const updates = new Map<number, string[]>();
  const visits = new Map<number, Visit>();
  let count = 0;
  createInterface({ input: child.stdout }).on('line', (line) => receive(JSON.parse(line) as Message));
  let hasExited = false;
  child.once('exit', () => {
    hasExited = true;
    for (const { reject } of waiting.values()) reject(new Error('the driver exited'));
  });

  function send(command: Record<string, unknown>, onProgress?: (progress: number) => void) {
    count += 1;
    const id = count;
    const { promise: reply, resolve, reject } = deferred<unknown>();
    if (hasExited) reject(new Error('the driver exited'));
    else waiting.set(id, { resolve, reject, onProgress });
    child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    return { id, reply };
  }

  function receive({ id = 0, client = 0, result, error, progress, updated, opened }: Message): void {
    if (updated !== undefined) updates.get(client)?.push(updated);
    if (opened !== undefined)
      void visits
        .get(client)?.(opened)
        .finally(() => send({ op: 'visited', client }).reply);
    const waiter = waiting.get(id);
    // The entry stays, because progress may follow the reply.
    if (progress !== undefined) waiter?.onProgress?.(progress);
    else if (error === undefined) waiter?.resolve(result);
    else waiter?.reject(new Error(error));
  }

  async function connect(mode: Mode, url: string, token: string | null, visit?: Visit): Promise<AgentClient> {
    count += 1;
    const self = { client: count, mode };
    const updated: string[] = [];
    updates.set(self.client, updated);
    if (visit !== undefined) visits.set(self.client, visit);
    const execute = (op: string, more: object = {}) => send({ op, ...self, ...more }).reply;
    await execute('connect', { url, token, reply: REPLY, ...(visit && { visits: true }) });
    let closed: Promise<unknown> | undefined;
    const session = ((await execute('session')) as string | null) ?? undefined;
    return {
      updated,
      sessionId: () => session,
      listTools: async () => (await execute('list')) as string[],
      call: async (name, args = {}, { onProgress, signal } = {}) => {
        const { id, reply } = send({ op: 'call', ...self, name, args }, onProgress);
        signal?.addEventListener('abort', () => void execute('cancel', { call: id }));
        return String(await reply);
      },
      watch: async (uri) => {
        await execute('watch', { uri });
      },
      close: async () => {
        closed ??= execute('close');
        await closed;
      },
    };
  }

  return {
    sdk: (name: string, mode: Mode, traits: Pick<AgentSdk, 'progressMayLag'> = {}): AgentSdk => ({
      name,
      sessions: mode === 'legacy',
      connect: (url, token) => connect(mode, url, token),
      ...traits,
    }),
    /** A client that gets its token by the OAuth flow of its SDK. */
    signingIn: (name: string, mode: Mode): AgentSdk => ({
      name,
      sessions: mode === 'legacy',
      connect: (url) => connect(mode, url, null),
    }),
    /** A client that lets its user open URLs, and waits until the user is done. */
    visiting: (name: string, mode: Mode): VisitingSdk => ({
      name,
      connect: (url, token, visit) => connect(mode, url, token, visit),
    }),
    close: () => close(child),
  };
}

async function close(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.stdin?.end();
  const force = setTimeout(() => child.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
  await exited;
  clearTimeout(force);
}
