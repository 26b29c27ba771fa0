import { CambistError } from '../errors.ts';

/** Holds back what would be too much at once for an authorization server. */
export interface Limiter {
  /** Runs now, or when one before has ended, or not at all: then ERR_STS_UNAVAILABLE. */
  run<T>(work: () => Promise<T>): Promise<T>;
}

/** Token requests to one server at once: more than a healthy one needs, few enough for one that is starting. */
const MAX_AT_ONCE = 64;
/** Callers that may wait for their turn. */
const MAX_WAITING = 1024;

/** @param name the authorization server's, for messages */
export function createLimiter(name: string): Limiter {
  let running = 0;
  const waiting: (() => void)[] = [];

  return {
    async run(work) {
      if (running >= MAX_AT_ONCE) {
        if (waiting.length >= MAX_WAITING) {
          throw new CambistError('ERR_STS_UNAVAILABLE', `authorization server "${name}": too many wait for it already`);
        }
        await new Promise<void>((resolve) => waiting.push(resolve));
      } else {
        running += 1;
      }
      try {
        return await work();
      } finally {
        // The place goes to whoever waits longest, or is free again.
        const next = waiting.shift();
        if (next === undefined) running -= 1;
        else next();
      }
    },
  };
}
