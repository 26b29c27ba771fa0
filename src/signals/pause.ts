import { setTimeout } from 'node:timers/promises';

/** A wait that can end early. */
export interface Pause {
  wait(ms: number): Promise<void>;
  /** Ends the wait, and every later one. */
  end(): void;
}

export function createPause(): Pause {
  const over = new AbortController();
  return {
    async wait(ms) {
      try {
        await setTimeout(ms, undefined, { signal: over.signal });
      } catch (error) {
        if (!over.signal.aborted) throw error;
      }
    },
    end: () => over.abort(),
  };
}
