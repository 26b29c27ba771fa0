import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { type AgentClient, type AgentSdk, REPLY } from '../../harness/agent-client.ts';

/**
 * Clients in another language: one process holds any number of them, and does what it is told. Each command is a line of
 * JSON with an `id`, and is answered by one with that `id` and a `result` or an `error`; in between may come `progress`, and
 * at any time, for a `client`, an `updated` resource.
 */
export interface Driver {
  sdk(name: string, mode: Mode, traits?: Pick<AgentSdk, 'progressMayLag'>): AgentSdk;
  close(): Promise<void>;
}

export type Mode = 'legacy' | 'auto';

interface Answer {
  id?: number;
  result?: unknown;
  error?: string;
  progress?: number;
  client?: number;
  updated?: string;
}

interface Waiting {
  resolve(result: unknown): void;
  reject(error: Error): void;
  onProgress: ((progress: number) => void) | undefined;
}

type Send = (command: Record<string, unknown>, onProgress?: (progress: number) => void) => Sent;

interface Sent {
  id: number;
  answer: Promise<unknown>;
}

const CLOSE_TIMEOUT_MS = 5_000;

/** @param args of the program, after its own path */
export function startDriver(program: string, args: readonly string[] = []): Driver {
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting = new Map<number, Waiting>();
  const updates = new Map<number, string[]>();
  let count = 0;
  createInterface({ input: child.stdout }).on('line', (line) => hear(JSON.parse(line) as Answer, waiting, updates));
  let ended = false;
  child.once('exit', () => {
    ended = true;
    for (const { reject } of waiting.values()) reject(new Error('the driver ended'));
  });
  const send: Send = (command, onProgress) => {
    count += 1;
    const id = count;
    const answer = new Promise<unknown>((resolve, reject) => {
      if (ended) reject(new Error('the driver ended'));
      else waiting.set(id, { resolve, reject, onProgress });
    });
    child.stdin.write(`${JSON.stringify({ id, ...command })}\n`);
    return { id, answer };
  };
  return {
    sdk: (name, mode, traits = {}) => ({
      ...traits,
      name,
      sessions: mode === 'legacy',
      connect: (url, token) => {
        count += 1;
        const updated: string[] = [];
        updates.set(count, updated);
        return connect(send, { client: count, mode }, { url, token }, updated);
      },
    }),
    close: () => close(child),
  };
}

function hear(answer: Answer, waiting: Map<number, Waiting>, updates: Map<number, string[]>): void {
  if (answer.client !== undefined && answer.updated !== undefined) updates.get(answer.client)?.push(answer.updated);
  const waiter = waiting.get(answer.id ?? 0);
  if (waiter === undefined) return;
  if (answer.progress !== undefined) {
    waiter.onProgress?.(answer.progress);
    return;
  }
  waiting.delete(answer.id ?? 0);
  if (answer.error === undefined) waiter.resolve(answer.result);
  else waiter.reject(new Error(answer.error));
}

async function connect(
  send: Send,
  self: { client: number; mode: Mode },
  to: { url: string; token: string },
  updated: string[],
): Promise<AgentClient> {
  const ask = (op: string, more: object = {}) => send({ op, ...self, ...more }).answer;
  await ask('connect', { ...to, answer: REPLY });
  let closed: Promise<unknown> | undefined;
  const session = ((await ask('session')) as string | null) ?? undefined;
  return {
    updated,
    sessionId: () => session,
    listTools: async () => (await ask('list')) as string[],
    call: async (name, args = {}, { onProgress, signal } = {}) => {
      const { id, answer } = send({ op: 'call', ...self, name, args }, onProgress);
      signal?.addEventListener('abort', () => void ask('cancel', { call: id }));
      return String(await answer);
    },
    watch: async (uri) => {
      await ask('watch', { uri });
    },
    close: async () => {
      closed ??= ask('close');
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
