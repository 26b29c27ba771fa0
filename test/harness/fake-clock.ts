import type { Clock } from '../../src/clock/clock.ts';

/** A clock that stands still until a test moves it. */
export interface FakeClock extends Clock {
  /** Time passes, on both clocks. */
  advance(ms: number): void;
  /** Somebody sets the wall clock, back or forth; the monotonic one does not notice. */
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
