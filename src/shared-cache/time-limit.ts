import { StoreTimeoutError } from './store-problems.ts';

/**
 * Waits for a promise up to a time limit. The promise may still settle later, which is then ignored.
 * @param late makes the error of a limit that was exceeded
 * @throws {StoreTimeoutError} after `ms`, unless `late` makes another error
 */
export async function inTime<T>(
  promise: Promise<T>,
  ms: number,
  late: () => Error = () => new StoreTimeoutError(ms),
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), ms);
  });
  promise.catch(() => {});
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}
