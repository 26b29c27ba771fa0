// Imported, because the global `performance` is a getter that V8 calls at each use.
import { performance } from 'node:perf_hooks';

/** Two clocks: instants that others wrote down are on the wall, lengths of time are on the monotonic one. */
export interface Clock {
  /** Milliseconds since the epoch; may jump. */
  wallMs(): number;
  /** Milliseconds since some instant; never goes back. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};
