import type { TestContext } from 'node:test';
import { type Clock, systemClock } from '../../src/clock/clock.ts';

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

/** Lets time pass at once for apps in this process. Their timers do not fire sooner. @returns lets so many milliseconds pass */
export function skippedTime(t: TestContext): (ms: number) => void {
  const { wallMs, monotonicMs } = systemClock;
  let skippedMs = 0;
  t.mock.method(systemClock, 'wallMs', () => wallMs() + skippedMs);
  t.mock.method(systemClock, 'monotonicMs', () => monotonicMs() + skippedMs);
  return (ms) => {
    skippedMs += ms;
  };
}
