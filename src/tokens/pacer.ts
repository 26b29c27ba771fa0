import type { Clock } from '../clock/clock.ts';

/** What is remembered at a time; who floods it only makes it let through what it would have held back. */
const MAX_KEYS = 10_000;

/** Lets something through for a key, and not again for that key until a pause is over. */
export type Pacer = (key: string) => boolean;

export function createPacer(pauseMs: number, clock: Clock): Pacer {
  /** Monotonic milliseconds of the end of each pause. They all last equally long, so whichever began first ends first. */
  const pauses = new Map<string, number>();

  return (key) => {
    const nowMs = clock.monotonicMs();
    if (nowMs < (pauses.get(key) ?? nowMs)) return false;
    for (const [other, untilMs] of pauses) {
      if (untilMs > nowMs && pauses.size < MAX_KEYS) break;
      pauses.delete(other);
    }
    pauses.set(key, nowMs + pauseMs);
    return true;
  };
}
