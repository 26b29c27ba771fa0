/** Does things later, many at once: each then finds its code and data in the processor's caches, where the one before left them. */
export interface Batch {
  add(work: () => void): void;
  /** Does what waits, in the order in which it came. */
  flush(): void;
}

/** Of some sixty requests: done in the time of one. */
const MAX_WAITING = 256;

export function createBatch(): Batch {
  let waiting: (() => void)[] = [];
  function flush(): void {
    const due = waiting;
    waiting = [];
    for (const work of due) work();
  }
  return {
    add(work) {
      waiting.push(work);
      if (waiting.length >= MAX_WAITING) flush();
    },
    flush,
  };
}
