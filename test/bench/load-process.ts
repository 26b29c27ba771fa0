import type { ChildProcess } from 'node:child_process';
import { programFile, startPinned } from './processes.ts';
import type { ClosedResult, Command, Listening, OpenResult, Reply, Target, TlsKeys } from './programs/protocol.ts';

export type LoadProcess = Awaited<ReturnType<typeof startLoadProcess>>;

/** Enough to keep one core busy. An agent has fewer. */
const CONNECTIONS = 32;

/** The process with the callers, the upstream and the authorization server. Its calls throw if a response is not 200. */
export async function startLoadProcess(tls: TlsKeys) {
  const child = startPinned('load', process.execPath, [programFile('load-process')], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const send = createSender(child);
  const checked = async <Result extends { requests: number; errors: number }>(reply: Promise<unknown>) => {
    const result = (await reply) as Result;
    const { errors, requests } = result;
    if (errors > 0) throw new Error(`${errors} of ${requests} requests failed`);
    return result;
  };
  const listening = (await send({ do: 'listen', tls })) as Listening;
  return {
    ...listening,
    /** Sends each request of a target once. */
    async each(target: Target): Promise<void> {
      await checked(send({ do: 'each', target, connections: CONNECTIONS }));
    },
    /** Opens the connections of the next `closed`, which has to be for the same target. */
    async connect(target: Target): Promise<void> {
      await checked(send({ do: 'connect', target, connections: CONNECTIONS }));
    },
    /** Sends as many requests as possible. */
    closed: (target: Target, seconds: number) =>
      checked<ClosedResult>(send({ do: 'closed', target, connections: CONNECTIONS, seconds })),
    /** Sends requests at a fixed rate. */
    open: (target: Target, perSecond: number, seconds: number) =>
      checked<OpenResult>(send({ do: 'open', target, perSecond, seconds })),
    /** Opens streams and keeps them open. */
    hold: (target: Target, count: number) => send({ do: 'hold', target, count }),
    release: () => send({ do: 'release' }),
    close: () => child.disconnect(),
  };
}

type Unnumbered<T> = T extends unknown ? Omit<T, 'id'> : never;

function createSender(child: ChildProcess): (command: Unnumbered<Command>) => Promise<unknown> {
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
    for (const { reject } of waiting.values()) reject(new Error(`the load process exited with code ${code}`));
  });
  return (command) =>
    new Promise((resolve, reject) => {
      id += 1;
      waiting.set(id, { resolve, reject });
      child.send({ ...command, id });
    });
}
