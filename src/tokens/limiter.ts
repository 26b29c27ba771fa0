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

/**
 * @param name the authorization server's, for messages
 * @param maxWaitMs longest that anybody waits for a turn
 */
export function createLimiter(name: string, maxWaitMs: number): Limiter {
  let running = 0;
  /** Each lets one go on; who has waited longest comes first. */
  const waiting = new Set<() => void>();

  function busy(why: string): CambistError {
    return new CambistError('ERR_STS_UNAVAILABLE', `authorization server "${name}" has too much to do: ${why}`);
  }

  function turn(): Promise<void> {
    if (waiting.size >= MAX_WAITING) return Promise.reject(busy(`${MAX_WAITING} wait for their turn already`));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(goOn);
        reject(busy(`no turn came in ${maxWaitMs} ms`));
      }, maxWaitMs);
      const goOn = (): void => {
        clearTimeout(timer);
        waiting.delete(goOn);
        resolve();
      };
      waiting.add(goOn);
    });
  }

  return {
    async run(work) {
      // Whoever gets a turn takes over the place of the one before.
      if (running >= MAX_AT_ONCE) await turn();
      else running += 1;
      try {
        return await work();
      } finally {
        const [next] = waiting;
        if (next === undefined) running -= 1;
        else next();
      }
    },
  };
}
