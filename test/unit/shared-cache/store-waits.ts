import { eventually } from '../../harness/eventually.ts';
import type { createMemoryStore } from '../../harness/memory-store.ts';

/** The token that a replica wrote is in the store. */
export const written = (store: ReturnType<typeof createMemoryStore>) =>
  eventually('the token is written', () => [...store.values.keys()].some((name) => name.includes(':t:')));

export const released = (store: ReturnType<typeof createMemoryStore>) =>
  eventually('the lock is free', () => ![...store.values.keys()].some((name) => name.includes(':l:')));
