import type { Clock } from '../clock/clock.ts';

/**
 * Admits a burst at once, and after it one event in each interval.
 * @returns a function that counts an event, or returns false when the event exceeds the rate
 */
export function createRateLimit(burst: number, intervalMs: number, clock: Clock): () => boolean {
  /** Monotonic milliseconds at which the whole burst is available again. */
  let fullAtMs = Number.NEGATIVE_INFINITY;
  return () => {
    const nowMs = clock.monotonicMs();
    const nextFullAtMs = Math.max(fullAtMs, nowMs) + intervalMs;
    if (nextFullAtMs > nowMs + burst * intervalMs) return false;
    fullAtMs = nextFullAtMs;
    return true;
  };
}
