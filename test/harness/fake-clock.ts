import type { TestContext } from 'node:test';
import { systemClock } from '../../src/clock/clock.ts';

export type FakeClock = ReturnType<typeof createFakeClock>;

export function createFakeClock(startWallMs = Date.parse('2026-11-24T12:00:00Z')) {
  let wallMs = startWallMs;
  let monotonicMs = 1_000_000;
  return {
    wallMs: () => wallMs,
    monotonicMs: () => monotonicMs,
    advance(ms: number): void {
      wallMs += ms;
      monotonicMs += ms;
    },
    /** Sets the wall clock back or forth. The monotonic clock does not change. */
    jumpWall(ms: number): void {
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
