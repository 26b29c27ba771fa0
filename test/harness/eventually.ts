import { setTimeout as delay } from 'node:timers/promises';

/** Generous: only a fault makes a test wait as long as this. */
const LIMIT_MS = 5_000;
const PAUSE_MS = 10;

/** Waits until something holds. @throws Error when it does not within five seconds */
export async function eventually(
  what: string,
  holds: () => boolean | Promise<boolean>,
  limitMs = LIMIT_MS,
): Promise<void> {
  const endMs = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`still not so after ${limitMs} ms: ${what}`);
    await delay(PAUSE_MS);
  }
}

/** Waits for a promise. @throws Error when it does not settle within five seconds */
export async function soon<T>(what: string, promise: Promise<T>, limitMs = LIMIT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still waiting after ${limitMs} ms: ${what}`)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
