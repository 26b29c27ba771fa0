import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type AgentClient, type AgentSdk, REPLY } from '../../harness/agent-client.ts';

export type Driver = ReturnType<typeof startDriver>;

export interface VisitingSdk {
  readonly name: string;
  connect(url: string, token: string, visit: (url: string) => Promise<void>): Promise<AgentClient>;
}

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

type Send = (command: Record<string, unknown>, onProgress?: (progress: number) => void) => Sent;

interface Sent {
  id: number;
  reply: Promise<unknown>;
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
  const visits = new Map<number, (url: string) => Promise<void>>();
  let count = 0;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const message = JSON.parse(line) as Message;
    const { client = 0, opened } = message;
    if (opened === undefined) receive(message, waiting, updates);
    else
      void visits
        .get(client)?.(opened)
        .finally(() => send({ op: 'visited', client }).reply);
  });
  let hasExited = false;
  child.once('exit', () => {
    hasExited = true;
    for (const { reject } of waiting.values()) reject(new Error('the driver exited'));
  });
  const send: Send = (command, onProgress) => {
    count += 1;
    const id = count;
    const reply = new Promise<unknown>((resolve, reject) => {
      if (hasExited) reject(new Error('the driver exited'));
      else waiting.set(id, { resolve, reject, onProgress });
    });
    child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    return { id, reply };
  };
  const agentSdk = (name: string, mode: Mode, signsIn: boolean): AgentSdk => ({
    name,
    sessions: mode === 'legacy',
    connect: (url, token) => {
      count += 1;
      const updated: string[] = [];
      updates.set(count, updated);
      return connect(send, { client: count, mode }, { url, token: signsIn ? null : token }, updated);
    },
  });
  return {
    sdk: (name: string, mode: Mode, traits: Pick<AgentSdk, 'progressMayLag'> = {}): AgentSdk => ({
      ...agentSdk(name, mode, false),
      ...traits,
    }),
    /** A client that gets its token by the OAuth flow of its SDK. The token that it is given is not used. */
    signingIn: (name: string, mode: Mode) => agentSdk(name, mode, true),
    /** A client that lets its user open URLs, and waits until the user is done. */
    visiting: (name: string, mode: Mode): VisitingSdk => ({
      name,
      connect: (url, token, visit) => {
        count += 1;
        visits.set(count, visit);
        return connect(send, { client: count, mode }, { url, token, visits: true }, []);
      },
    }),
    close: () => close(child),
  };
}

function receive(message: Message, waiting: Map<number, Waiting>, updates: Map<number, string[]>): void {
  if (message.client !== undefined && message.updated !== undefined) updates.get(message.client)?.push(message.updated);
  const waiter = waiting.get(message.id ?? 0);
  if (waiter === undefined) return;
  if (message.progress !== undefined) {
    waiter.onProgress?.(message.progress);
    return;
  }
  // The entry stays, because progress may follow the reply.
  if (message.error === undefined) waiter.resolve(message.result);
  else waiter.reject(new Error(message.error));
}

async function connect(
  send: Send,
  self: { client: number; mode: Mode },
  to: { url: string; token: string | null; visits?: boolean },
  updated: string[],
): Promise<AgentClient> {
  const execute = (op: string, more: object = {}) => send({ op, ...self, ...more }).reply;
  await execute('connect', { ...to, reply: REPLY });
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

async function close(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.stdin?.end();
  const force = setTimeout(() => child.kill('SIGKILL'), CLOSE_TIMEOUT_MS);
  await exited;
  clearTimeout(force);
}
