/** The wall clock of this process, which jumps. */
export interface SkewedClock {
  jump(offsetMs: number): void;
  restore(): void;
}

/** Replaces `Date.now`. The monotonic clock stays right, as on a machine whose clock is set. */
export function skewClock(): SkewedClock {
  const original = Date.now;
  let offsetMs = 0;
  Date.now = () => original() + offsetMs;
  return {
    jump: (next) => {
      offsetMs = next;
    },
    restore: () => {
      Date.now = original;
    },
  };
}
