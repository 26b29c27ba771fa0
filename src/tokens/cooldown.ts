import type { Clock } from '../clock/clock.ts';

/** Keys that are remembered at a time. A flood of keys only makes the oldest cooldowns end early. */
const MAX_KEYS = 10_000;

/** Admits an event for a key, and no other event for that key until its cooldown ends. */
export type Cooldown = (key: string) => boolean;

export function createCooldown(cooldownMs: number, clock: Clock): Cooldown {
  /** Monotonic milliseconds at which each cooldown ends. All last equally long, so they end in the order of their start. */
  const endsAtMs = new Map<string, number>();

  return (key) => {
    const nowMs = clock.monotonicMs();
    if (nowMs < (endsAtMs.get(key) ?? nowMs)) return false;
    for (const [other, untilMs] of endsAtMs) {
      if (untilMs > nowMs && endsAtMs.size < MAX_KEYS) break;
      endsAtMs.delete(other);
    }
    endsAtMs.set(key, nowMs + cooldownMs);
    return true;
  };
}
