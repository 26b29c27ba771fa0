/**
 * Gives work a signal that ends it when its time is up. `AbortSignal.timeout` would keep its timer until that time, however
 * soon the work is done: thousands of them where there are a thousand exchanges a second, old enough by then for V8 to
 * move them out of the young generation.
 * @throws whatever the work throws; a `DOMException` "TimeoutError" is the signal's reason
 */
export async function withDeadline<T>(ms: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DOMException('its time is up', 'TimeoutError')), ms);
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
  }
}
