import { openConnection, openConnections } from './connection.ts';
import type { ClosedResult, Connection, Target } from './protocol.ts';
import { requestsTo } from './requests.ts';

/**
 * Opens connections and sends a request on each, so that no handshake is left to do. Opens none where each request has a connection
 * of its own.
 */
export async function openWarmConnections(
  target: Target,
  count: number,
): Promise<{ connections: readonly Connection[]; requests: number; errors: number }> {
  const { next } = requestsTo(target);
  const connections = target.newConnections ? [] : await openConnections(target, count);
  const statuses = await Promise.all(connections.map((each) => new Promise<number>((done) => each.send(next(), done))));
  const errors = statuses.filter((status) => status !== 200).length;
  return { connections, requests: connections.length, errors };
}

/**
 * Every connection sends its next request as soon as the previous response is complete. Measures the maximum throughput.
 * @param warmConnections open connections. Without them, new ones are opened
 */
export async function runClosedLoop(
  target: Target,
  connectionCount: number,
  seconds: number,
  warmConnections?: readonly Connection[],
): Promise<Omit<ClosedResult, 'exchanges'>> {
  const requests = requestsTo(target);
  const connections = warmConnections ?? (target.newConnections ? [] : await openConnections(target, connectionCount));
  const cpuBefore = process.cpuUsage();
  const startedMs = performance.now();
  const endMs = startedMs + 1000 * seconds;
  const shouldContinue = (): boolean => performance.now() < endMs;
  const { count, errors } = target.newConnections
    ? await driveNew(target, connectionCount, requests.next, shouldContinue)
    : await driveAll(connections, requests.next, shouldContinue);
  const elapsedSeconds = (performance.now() - startedMs) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  return { requests: count, errors, seconds: elapsedSeconds, cpuSeconds: (cpu.user + cpu.system) / 1e6 };
}

/** Sends each request of a target once, to fill the cache. */
export async function sendEach(target: Target, connectionCount: number): Promise<{ requests: number; errors: number }> {
  const requests = requestsTo(target);
  let left = requests.distinct;
  const connections = await openConnections(target, connectionCount);
  const { count, errors } = await driveAll(connections, requests.next, () => {
    left -= 1;
    return left >= 0;
  });
  return { requests: count, errors };
}

/** A new connection for each request, with a handshake of its own. */
async function driveNew(
  target: Target,
  connectionCount: number,
  next: () => Buffer,
  shouldContinue: () => boolean,
): Promise<{ count: number; errors: number }> {
  let count = 0;
  let errors = 0;
  const drive = async (): Promise<void> => {
    while (shouldContinue()) {
      const connection = await openConnection(target);
      const status = await new Promise<number>((resolve) => connection.send(next(), resolve));
      connection.close();
      count += 1;
      if (status !== 200) errors += 1;
    }
  };
  await Promise.all(Array.from({ length: connectionCount }, drive));
  return { count, errors };
}

async function driveAll(
  connections: readonly Connection[],
  next: () => Buffer,
  shouldContinue: () => boolean,
): Promise<{ count: number; errors: number }> {
  let count = 0;
  let errors = 0;
  const drive = (connection: Connection): Promise<void> =>
    new Promise((resolve) => {
      const onResponse = (status: number): void => {
        count += 1;
        if (status !== 200) errors += 1;
        if (status !== 0 && shouldContinue()) connection.send(next(), onResponse);
        else resolve();
      };
      if (shouldContinue()) connection.send(next(), onResponse);
      else resolve();
    });
  await Promise.all(connections.map(drive));
  for (const connection of connections) connection.close();
  return { count, errors };
}
