/** A caller with more than this part of all handles loses its own before others do. */
const SHARE = 0.1;

/** The part of a handle that decides when it is evicted. */
interface Evictable {
  readonly caller: string;
  readonly requests: ReadonlySet<number>;
}

/** The order in which handles are evicted. Every operation takes the same time, however many handles there are. */
export interface EvictionOrder<Entry extends Evictable> {
  add(entry: Entry): void;
  /** Marks an entry as the most recently used. Called also when its first request begins, and when its last one ends. */
  use(entry: Entry): void;
  remove(entry: Entry): void;
  /**
   * The least recently used entry without a request in flight: of `caller`, or else of another caller, that exceeds its share; or
   * else of all callers.
   */
  next(caller: string | undefined): Entry | undefined;
}

interface Owner<Entry> {
  /** The number of entries, also of those with a request in flight. */
  total: number;
  /** Entries without a request in flight, the least recently used first. */
  readonly idle: Set<Entry>;
}

/** @param entries the least recently used first. @param maxEntries bound of their number */
export function createEvictionOrder<Entry extends Evictable>(
  entries: Iterable<Entry>,
  maxEntries: number,
): EvictionOrder<Entry> {
  const share = Math.max(1, maxEntries * SHARE);
  const idle = new Set<Entry>();
  const owners = new Map<string, Owner<Entry>>();
  /** Owners that exceed their share, and have an idle entry. */
  const greedy = new Set<Owner<Entry>>();

  function ownerOf({ caller }: Entry): Owner<Entry> {
    let owner = owners.get(caller);
    if (owner === undefined) {
      owner = { total: 0, idle: new Set() };
      owners.set(caller, owner);
    }
    return owner;
  }

  function judge(owner: Owner<Entry>): void {
    if (owner.total > share && owner.idle.size > 0) greedy.add(owner);
    else greedy.delete(owner);
  }

  function use(entry: Entry, owner: Owner<Entry>): void {
    for (const list of [idle, owner.idle]) {
      list.delete(entry);
      if (entry.requests.size === 0) list.add(entry);
    }
    judge(owner);
  }

  function add(entry: Entry): void {
    const owner = ownerOf(entry);
    owner.total += 1;
    use(entry, owner);
  }

  for (const entry of entries) add(entry);

  return {
    add,
    use: (entry) => use(entry, ownerOf(entry)),
    remove(entry) {
      const owner = ownerOf(entry);
      idle.delete(entry);
      owner.idle.delete(entry);
      owner.total -= 1;
      judge(owner);
      if (owner.total === 0) owners.delete(entry.caller);
    },
    next(caller) {
      const own = caller === undefined ? undefined : owners.get(caller);
      const [other] = greedy;
      const loser = own !== undefined && greedy.has(own) ? own : other;
      const [entry] = loser?.idle ?? idle;
      return entry;
    },
  };
}
