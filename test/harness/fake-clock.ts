import type { Clock } from '../../src/clock/clock.ts';

export interface FakeClock extends Clock {
  advance(ms: number): void;
  /** Sets the wall clock back or forth. The monotonic clock does not change. */
  jumpWall(ms: number): void;
}

export function createFakeClock(startWallMs = Date.parse('2026-11-24T12:00:00Z')): FakeClock {
  let wallMs = startWallMs;
  let monotonicMs = 1_000_000;
  return {
    wallMs: () => wallMs,
    monotonicMs: () => monotonicMs,
    advance(ms) {
      wallMs += ms;
      monotonicMs += ms;
    },
    jumpWall(ms) {
      wallMs += ms;
    },
  };
}
