import { createRandom } from '../../harness/random.ts';
import { openConnection, openConnections } from './connection.ts';
import { type Connection, type OpenResult, PERCENTILES, type Target } from './protocol.ts';
import { requestsTo } from './requests.ts';

const FIRST_CONNECTIONS = 32;
/** If this limit is reached, the proxy cannot serve the rate. */
const MAX_CONNECTIONS = 1000;

/**
 * Sends requests at scheduled times, without waiting for earlier responses, and measures latency from the scheduled time. If a proxy
 * stalls for 50 ms, all requests of that time count as delayed. This avoids coordinated omission.
 */
export async function runOpenLoop(target: Target, perSecond: number, seconds: number): Promise<OpenResult> {
  const requests = requestsTo(target);
  const idle: Connection[] = await openConnections(target, FIRST_CONNECTIONS);
  const all = new Set(idle);
  const due = arrivals(perSecond, seconds);
  const latencies = new Float64Array(due.length);
  let finished = 0;
  let errors = 0;

  async function send(n: number, dueMs: number): Promise<void> {
    const connection = idle.pop() ?? (await openAnother());
    return new Promise((resolve) => {
      connection.send(requests.next(), (status) => {
        latencies[n] = performance.now() - dueMs;
        finished += 1;
        if (status !== 200) errors += 1;
        if (status !== 0) idle.push(connection);
        resolve();
      });
    });
  }

  async function openAnother(): Promise<Connection> {
    if (all.size >= MAX_CONNECTIONS) throw new Error(`the proxy has ${MAX_CONNECTIONS} requests waiting`);
    const connection = await openConnection(target);
    all.add(connection);
    return connection;
  }

  const startedMs = performance.now();
  const sent: Promise<void>[] = [];
  await new Promise<void>((resolve) => {
    // A timer is up to a millisecond late, which is more than the measured latency. So this loop polls.
    const poll = (): void => {
      const nowMs = performance.now() - startedMs;
      while (sent.length < due.length && (due[sent.length] as number) <= nowMs) {
        const n = sent.length;
        sent.push(send(n, startedMs + (due[n] as number)));
      }
      if (sent.length < due.length) setImmediate(poll);
      else resolve();
    };
    poll();
  });
  // The last responses arrive without polling. They are few, and their latency is the same.
  await Promise.all(sent);
  for (const connection of all) connection.close();
  latencies.sort();
  const at = (share: number): number => latencies[Math.min(due.length - 1, Math.floor(share * due.length))] ?? 0;
  return { requests: finished, errors, percentilesMs: PERCENTILES.map((percent) => at(percent / 100)), maxMs: at(1) };
}

/** Scheduled times in milliseconds, as of many independent callers. They are the same for every proxy. */
function arrivals(perSecond: number, seconds: number): Float64Array {
  const times: number[] = [];
  const random = createRandom(1);
  let atMs = 0;
  while (atMs < 1000 * seconds) {
    atMs -= (1000 / perSecond) * Math.log(1 - random.next());
    times.push(atMs);
  }
  return Float64Array.from(times);
}
