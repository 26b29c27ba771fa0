import { executionAsyncResource } from 'node:async_hooks';

/** Held as long as the process lives. */
export const heldTicks: object[] = [];

/**
 * Holds one of the objects that `process.nextTick` makes. Node builds them from computed keys, and V8 forgets their shape where it
 * collects while there is none, as it does in the start with a long config. Code that has made them before then makes each by a call
 * into V8's runtime from then on: 2 µs of a cached call on Node 24. To be called early.
 */
export function holdTickShape(): void {
  process.nextTick(() => heldTicks.push(executionAsyncResource()));
}
