import { randomBytes } from 'node:crypto';
import { systemClock } from '../clock/clock.ts';
import type { SharedCache } from '../config/shared-cache.ts';
import { ACQUIRE, KEEP } from './scripts.ts';
import { type ConnectStore, connectStore, type StoreConnection } from './store-connection.ts';
import { FIXES, inTime, labelOf, problemOf } from './store-problems.ts';

/** Longest time that a step of a probe may take. */
const STEP_MS = 5000;

/**
 * Connects as a replica does, and tries everything that it needs: a write, a script, a subscription and a message.
 * @param withRecords tries to keep a record too
 * @returns the time of one operation, or the problem
 */
export async function probeStore(shared: SharedCache, withRecords: boolean, connect: ConnectStore = connectStore) {
  const name = `${shared.prefix}:{doctor:${randomBytes(12).toString('base64url')}}`;
  const ofRecord = [`${name}e`, `${name}v`];
  try {
    const connection = await connect(shared, () => {});
    try {
      await step(connection.set(name, '1', STEP_MS));
      const startedMs = performance.now();
      await step(connection.run(ACQUIRE, [name, `${name}l`], ['', '0', '1', '']));
      const durationMs = performance.now() - startedMs;
      await step(connection.subscribe(name, () => {}));
      await step(connection.publish(name, '1'));
      if (withRecords) await keepOne(connection, ofRecord);
      await step(connection.delete([name, ...ofRecord]));
      return { durationMs };
    } finally {
      connection.destroy();
    }
  } catch (error) {
    const problem = problemOf(error);
    return { problem, cause: labelOf(error), fix: FIXES[problem] };
  }
}

function step<T>(work: Promise<T>): Promise<T> {
  return inTime(work, STEP_MS);
}

async function keepOne(connection: StoreConnection, names: readonly string[]): Promise<void> {
  const nowMs = systemClock.wallMs();
  const args = ['1', '1', nowMs + STEP_MS, nowMs, STEP_MS, 1, 1, ''].map(String);
  await step(connection.run(KEEP, names, args));
}
