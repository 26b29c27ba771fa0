/** An owner with more than this part of a full cache loses its own entries before others do. */
const SHARE = 0.1;

/** The entries of a bounded cache by owner. An owner that fills the cache evicts its own entries. */
export interface Shares {
  add(owner: string, key: string): void;
  /** Marks an entry as the most recently used of its owner. */
  use(owner: string, key: string): void;
  remove(owner: string, key: string): void;
  /**
   * The least recently used entry of `owner`, or else of another owner, that exceeds its share.
   * @returns undefined when no owner does
   */
  firstToGiveWay(owner: string | undefined): string | undefined;
}

/** @param maxEntries bound of the cache. A single owner may use all of it while no other owner needs room. */
export function createShares(maxEntries: number): Shares {
  const share = Math.max(1, maxEntries * SHARE);
  /** Keys, the least recently used first. */
  const keysByOwner = new Map<string, Set<string>>();
  /** Owners that exceed their share: at most as many as there are shares. */
  const greedy = new Set<string>();

  return {
    add(owner, key) {
      const keys = keysByOwner.get(owner) ?? new Set();
      keysByOwner.set(owner, keys.add(key));
      if (keys.size > share) greedy.add(owner);
    },
    use(owner, key) {
      const keys = keysByOwner.get(owner);
      // Most owners have a single entry, which needs no reordering.
      if (keys === undefined || keys.size === 1 || !keys.delete(key)) return;
      keys.add(key);
    },
    remove(owner, key) {
      const keys = keysByOwner.get(owner);
      if (keys === undefined) return;
      keys.delete(key);
      if (keys.size <= share) greedy.delete(owner);
      if (keys.size === 0) keysByOwner.delete(owner);
    },
    firstToGiveWay(owner) {
      const [other] = greedy;
      const loser = owner !== undefined && greedy.has(owner) ? owner : other;
      if (loser === undefined) return undefined;
      const [key] = keysByOwner.get(loser) ?? [];
      return key;
    },
  };
}
