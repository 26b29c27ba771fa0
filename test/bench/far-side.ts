import type { ChildProcess } from 'node:child_process';
import { startPinned } from './processes.ts';
import type { ClosedResult, Command, Listening, OpenResult, Reply, Target, TlsKeys } from './programs/protocol.ts';
import { programFile } from './programs.ts';

/** Callers, upstream and authorization server, in a process of their own. */
export interface FarSide extends Listening {
  /** Sends each request of a target once. @throws Error where an answer was not 200 */
  each(target: Target): Promise<void>;
  /** As many requests as can be, on so many connections. @throws Error where an answer was not 200 */
  closed(target: Target, seconds: number): Promise<ClosedResult>;
  /** So many requests a second. @throws Error where an answer was not 200 */
  open(target: Target, perSecond: number, seconds: number): Promise<OpenResult>;
  /** Opens streams and keeps them. */
  hold(target: Target, count: number): Promise<void>;
  release(): Promise<void>;
  close(): void;
}

/** Enough to keep one core busy; an agent has fewer. */
export const CONNECTIONS = 32;

export async function startFarSide(tls: TlsKeys): Promise<FarSide> {
  const child = startPinned('far', process.execPath, [programFile('far-side')], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const ask = createAsk(child);
  const checked = async <Result extends { requests: number; errors: number }>(asked: Promise<unknown>) => {
    const result = (await asked) as Result;
    const { errors, requests } = result;
    if (errors > 0) throw new Error(`${errors} of ${requests} requests were not answered 200`);
    return result;
  };
  const listening = (await ask({ do: 'listen', tls })) as Listening;
  return {
    ...listening,
    each: async (target) => void (await checked(ask({ do: 'each', target, connections: CONNECTIONS }))),
    closed: (target, seconds) =>
      checked<ClosedResult>(ask({ do: 'closed', target, connections: CONNECTIONS, seconds })),
    open: (target, perSecond, seconds) => checked<OpenResult>(ask({ do: 'open', target, perSecond, seconds })),
    hold: async (target, count) => void (await ask({ do: 'hold', target, count })),
    release: async () => void (await ask({ do: 'release' })),
    close: () => child.disconnect(),
  };
}

type Unnumbered<T> = T extends unknown ? Omit<T, 'id'> : never;

function createAsk(child: ChildProcess): (command: Unnumbered<Command>) => Promise<unknown> {
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  let id = 0;
  child.on('message', (message) => {
    const reply = message as Reply;
    const waiter = waiting.get(reply.id);
    waiting.delete(reply.id);
    if ('error' in reply) waiter?.reject(new Error(reply.error));
    else waiter?.resolve(reply.result);
  });
  child.once('exit', (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`the far side ended with ${code}`));
  });
  return (command) =>
    new Promise((resolve, reject) => {
      id += 1;
      waiting.set(id, { resolve, reject });
      child.send({ ...command, id });
    });
}
