/** Global variable of the counters that `build.ts` adds to the code. */
export const COVERAGE_VARIABLE = '__cambist_fuzz__';

type Counters = Record<string, number>;

interface FileCoverage {
  readonly s: Counters;
  readonly b: Record<string, number[]>;
}

/** Tells which inputs reach new code. */
export interface Coverage {
  /** Sets all counters to 0. */
  reset(): void;
  /** Since `reset`: did the code take a way that it has not taken before, or take one more often by an order? */
  hasNew(): boolean;
  /** Ways seen so far. */
  readonly seen: number;
}

/** Reads the counters of all loaded files. */
export function createCoverage(): Coverage {
  const files = Object.values((globalThis as Record<string, unknown>)[COVERAGE_VARIABLE] ?? {}) as FileCoverage[];
  const groups = files.flatMap(({ s, b }) => [s, ...Object.values(b)] as Counters[]);
  const keys = groups.map((group) => Object.keys(group));
  const best = groups.map((group) => new Uint8Array(Object.keys(group).length));
  let seen = 0;

  return {
    get seen() {
      return seen;
    },
    reset() {
      for (const [index, group] of groups.entries()) for (const key of keys[index] ?? []) group[key] = 0;
    },
    hasNew() {
      let isNew = false;
      for (const [index, group] of groups.entries()) {
        const bests = best[index] ?? new Uint8Array();
        for (const [position, key] of (keys[index] ?? []).entries()) {
          // 1, 2, 4, 8 … times are different: loops are ways of their own.
          const order = 32 - Math.clz32(group[key] ?? 0);
          if (order <= (bests[position] ?? 0)) continue;
          if (bests[position] === 0) seen += 1;
          bests[position] = order;
          isNew = true;
        }
      }
      return isNew;
    },
  };
}
