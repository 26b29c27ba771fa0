import { randomBytes } from 'node:crypto';
import type { SharedCache } from '../config/optional-sections.ts';
import { type ConnectStore, connectStore } from './connection.ts';
import { FIXES, labelOf, problemOf, type StoreProblem, StoreTimeoutError } from './problems.ts';
import { ACQUIRE } from './scripts.ts';

/** The result of a try: the time of one operation, or the problem. */
export type ProbeResult =
  | { readonly durationMs: number }
  | { readonly problem: StoreProblem; readonly cause: string; readonly fix: string };

/** Longest time that a step of a probe may take. */
const STEP_MS = 5000;

/** Connects as a replica does, and tries everything that it needs: a write, a script, a subscription and a message. */
export async function probeStore(shared: SharedCache, connect: ConnectStore = connectStore): Promise<ProbeResult> {
  const name = `${shared.prefix}:{doctor:${randomBytes(12).toString('base64url')}}`;
  try {
    const connection = await connect(shared, () => {});
    try {
      await inTime(connection.set(name, '1', STEP_MS));
      const startedMs = performance.now();
      await inTime(connection.run(ACQUIRE, [name, `${name}r`, `${name}l`], ['', '0', '1', '', '']));
      const durationMs = performance.now() - startedMs;
      await inTime(connection.subscribe(name, () => {}));
      await inTime(connection.publish(name, '1'));
      await inTime(connection.delete([name]));
      return { durationMs };
    } finally {
      connection.destroy();
    }
  } catch (error) {
    const problem = problemOf(error);
    return { problem, cause: labelOf(error), fix: FIXES[problem] };
  }
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new StoreTimeoutError()), STEP_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
