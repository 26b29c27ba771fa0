/** An owner with more than this part of a full cache loses its own entries before others do. */
const SHARE = 0.1;

/** The entries of a bounded cache by owner. An owner that fills the cache evicts its own entries. */
export type Shares = ReturnType<typeof createShares>;

/** @param maxEntries bound of the cache. A single owner may use all of it while no other owner needs room. */
export function createShares(maxEntries: number) {
  const share = Math.max(1, maxEntries * SHARE);
  /** Keys, the least recently used first. Most owners have a single one, which is kept without a set: 170 bytes less each. */
  const keysByOwner = new Map<string, string | Set<string>>();
  /** Owners that exceed their share: at most as many as there are shares. */
  const greedy = new Set<string>();

  return {
    add(owner: string, key: string): void {
      const known = keysByOwner.get(owner);
      if (known === undefined || known === key) {
        keysByOwner.set(owner, key);
        return;
      }
      const keys = typeof known === 'string' ? new Set([known]) : known;
      keysByOwner.set(owner, keys.add(key));
      if (keys.size > share) greedy.add(owner);
    },
    /** Marks an entry as the most recently used of its owner. */
    use(owner: string, key: string): void {
      const keys = keysByOwner.get(owner);
      if (typeof keys === 'object' && keys.size > 1 && keys.delete(key)) keys.add(key);
    },
    remove(owner: string, key: string): void {
      const keys = keysByOwner.get(owner);
      if (typeof keys === 'object') {
        keys.delete(key);
        if (keys.size <= share) greedy.delete(owner);
        if (keys.size === 0) keysByOwner.delete(owner);
      } else if (keys === key) keysByOwner.delete(owner);
    },
    /**
     * The least recently used entry of `owner`, or else of another owner, that exceeds its share.
     * @param mayGo false for an entry in use, which then counts as the most recently used
     * @returns undefined when no owner does
     */
    firstToGiveWay(owner: string | undefined, mayGo: (key: string) => boolean = () => true): string | undefined {
      const own = owner !== undefined && greedy.has(owner) ? [owner] : [];
      for (const loser of [...own, ...greedy]) {
        const key = firstOf(keysByOwner.get(loser) as Set<string>, mayGo);
        if (key !== undefined) return key;
      }
      return undefined;
    },
  };
}

function firstOf(keys: Set<string>, mayGo: (key: string) => boolean): string | undefined {
  for (let left = keys.size; left > 0; left -= 1) {
    const [key] = keys;
    if (key === undefined || mayGo(key)) return key;
    keys.delete(key);
    keys.add(key);
  }
  return undefined;
}
