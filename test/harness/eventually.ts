import { setTimeout as delay } from 'node:timers/promises';

/** Long enough for a busy machine, and shorter than the default of limits.shutdown_grace. Only a failing test waits this long. */
const LIMIT_MS = 20_000;
const PAUSE_MS = 10;

/**
 * Waits until a condition holds.
 * @param pauseMs between two looks. Longer where looking takes much work, which would delay the condition on a busy machine
 * @throws Error after `limitMs`
 */
export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
  limitMs = LIMIT_MS,
  pauseMs = PAUSE_MS,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`timeout after ${limitMs} ms, waiting for: ${what}`);
    await delay(pauseMs);
  }
}

/** Waits for a promise. @throws Error after `limitMs` */
export async function soon<T>(what: string, promise: Promise<T>, limitMs = LIMIT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timeout after ${limitMs} ms, waiting for: ${what}`)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export function deferred<T>(): { promise: Promise<T>; resolve(value: T): void; reject(error: unknown): void } {
  let resolve: (value: T) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
