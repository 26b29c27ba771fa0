import { type Connection, openConnections } from './connection.ts';
import type { ClosedResult, Target } from './protocol.ts';
import { requestsTo } from './requests.ts';

/** Every connection sends its next request as soon as it has the answer to the last: as many as the proxy can take. */
export async function runClosedLoop(
  target: Target,
  connectionCount: number,
  seconds: number,
): Promise<Omit<ClosedResult, 'exchanges'>> {
  const requests = requestsTo(target);
  const connections = await openConnections(target.port, connectionCount);
  const cpuBefore = process.cpuUsage();
  const startedMs = performance.now();
  const endMs = startedMs + 1000 * seconds;
  const { count, errors } = await driveAll(connections, requests.next, () => performance.now() < endMs);
  const tookSeconds = (performance.now() - startedMs) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  return { requests: count, errors, seconds: tookSeconds, cpuSeconds: (cpu.user + cpu.system) / 1e6 };
}

/** Sends each request of a target once, so that what comes after finds all of them known. */
export async function sendEach(target: Target, connectionCount: number): Promise<{ requests: number; errors: number }> {
  const requests = requestsTo(target);
  let left = requests.distinct;
  const connections = await openConnections(target.port, connectionCount);
  const { count, errors } = await driveAll(connections, requests.next, () => {
    left -= 1;
    return left >= 0;
  });
  return { requests: count, errors };
}

async function driveAll(
  connections: readonly Connection[],
  next: () => Buffer,
  mayGoOn: () => boolean,
): Promise<{ count: number; errors: number }> {
  let count = 0;
  let errors = 0;
  const drive = (connection: Connection): Promise<void> =>
    new Promise((resolve) => {
      const answered = (status: number): void => {
        count += 1;
        if (status !== 200) errors += 1;
        if (status !== 0 && mayGoOn()) connection.send(next(), answered);
        else resolve();
      };
      if (mayGoOn()) connection.send(next(), answered);
      else resolve();
    });
  await Promise.all(connections.map(drive));
  for (const connection of connections) connection.close();
  return { count, errors };
}
