/** Who has more than this part of a full cache gives way before others do. */
const SHARE = 0.1;

/** Whose entries a bounded cache holds, so that one who fills it pushes out entries of its own. */
export interface Shares {
  add(owner: string, key: string): void;
  /** It was used: of its owner's entries it is now the last to give way. */
  use(owner: string, key: string): void;
  remove(owner: string, key: string): void;
  /** What `owner`, or another, that has more than its share used longest ago; undefined where nobody has. */
  firstToGiveWay(owner: string | undefined): string | undefined;
}

/** @param maxEntries of the cache, of which one owner alone may fill all that nobody else needs */
export function createShares(maxEntries: number): Shares {
  const share = Math.max(1, maxEntries * SHARE);
  /** Keys in the order of their use. */
  const keysByOwner = new Map<string, Set<string>>();
  /** Owners with more than their share: fewer than its part goes into the whole. */
  const greedy = new Set<string>();

  return {
    add(owner, key) {
      const keys = keysByOwner.get(owner) ?? new Set();
      keysByOwner.set(owner, keys.add(key));
      if (keys.size > share) greedy.add(owner);
    },
    use(owner, key) {
      const keys = keysByOwner.get(owner);
      // Most callers have few, and one is in order as it is.
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
      const whose = owner !== undefined && greedy.has(owner) ? owner : other;
      if (whose === undefined) return undefined;
      const [key] = keysByOwner.get(whose) ?? [];
      return key;
    },
  };
}
