import { setTimeout } from 'node:timers/promises';

/** A wait that can end early. */
export type Pause = ReturnType<typeof createPause>;

export function createPause() {
  const over = new AbortController();
  return {
    async wait(ms: number): Promise<void> {
      try {
        await setTimeout(ms, undefined, { signal: over.signal });
      } catch (error) {
        if (!over.signal.aborted) throw error;
      }
    },
    /** Ends the wait, and every later one. */
    end: (): void => over.abort(),
  };
}
