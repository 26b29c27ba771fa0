export type Random = ReturnType<typeof createRandom>;

/** Random choices that a seed repeats. Mulberry32: small, fast, and good enough to choose faults with. */
export function createRandom(seed: number) {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const int = (below: number): number => Math.floor(next() * below);
  return {
    /** A number from 0 to 1. */
    next,
    /** An integer from 0 to `below` - 1. */
    int,
    /** True with this probability. */
    chance: (probability: number): boolean => next() < probability,
    /** One of at least one value. */
    pick: <T>(values: readonly T[]): T => values[int(values.length)] as T,
    /** So many hexadecimal digits. */
    hex: (digits: number): string => Array.from({ length: digits }, () => int(16).toString(16)).join(''),
    shuffle: <T>(values: readonly T[]): T[] => {
      const rest = [...values];
      return values.flatMap(() => rest.splice(int(rest.length), 1));
    },
  };
}
