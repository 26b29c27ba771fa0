import { ACQUIRE, FINISH, FORGET, KEEP, RECALL } from '../../src/shared-cache/scripts.ts';
import type { ConnectStore, StoreConnection } from '../../src/shared-cache/store-connection.ts';

/**
 * A store in this process, with faults. It does what the scripts do at a real server, on which test/external/store runs them. Values
 * do not expire by themselves: readers must not depend on it.
 */
export type MemoryStore = ReturnType<typeof createMemoryStore>;

/**
 * Changes records, as an attacker at the server can.
 * @param isHit gets the index and the name of each record
 * @param to undefined: deletes it
 */
export function spoil(
  { sets, records }: Pick<MemoryStore, 'sets' | 'records'>,
  isHit: (index: number, id: string) => boolean,
  to: string | undefined,
): void {
  for (const [name, kept] of records) {
    const hit = [...kept.keys()].filter((id, index) => isHit(index, id));
    for (const id of hit) {
      if (to !== undefined) kept.set(id, to);
      else {
        kept.delete(id);
        sets.get(name.replace(/:values$/, ''))?.delete(id);
      }
    }
  }
}

type Reply = string | number | string[];
type Run = (keys: readonly string[], args: readonly string[]) => Reply;

export function createMemoryStore() {
  const values = new Map<string, string>();
  const sets = new Map<string, Map<string, number>>();
  const records = new Map<string, Map<string, string>>();
  const listeners = new Set<{ channel: string; listener: (message: string) => void }>();
  const losers = new Set<(error: unknown) => void>();

  const read = (key: string, longest: string): string => {
    const value = values.get(key) ?? '';
    return value.length > Number(longest) ? '' : value;
  };

  const scripts: Readonly<Record<string, Run>> = {
    [ACQUIRE.name]([token = '', lock = ''], [value = '', , longest = '', unwanted = '']) {
      const found = read(token, longest);
      if (found !== '' && !(unwanted !== '' && found.startsWith(unwanted))) return [found, ''];
      if (value === '') return ['', ''];
      if (!values.has(lock)) values.set(lock, value);
      return ['', read(lock, longest)];
    },
    [FINISH.name]([place = '', lock = ''], [holder = '', result = '']) {
      const held = values.get(lock);
      if (held !== undefined && !held.startsWith(holder)) return 0;
      if (result !== '') values.set(place, result);
      values.delete(lock);
      return 1;
    },
    [FORGET.name]([name = ''], [tag = '']) {
      return values.get(name)?.startsWith(tag) === true && values.delete(name) ? 1 : 0;
    },
    [KEEP.name]([set = '', name = ''], args) {
      const [id = '', record = '', expiry = '', now = '', , most = '', longest = '', unwanted = ''] = args;
      const expiries = sets.get(set) ?? new Map<string, number>();
      const kept = records.get(name) ?? new Map<string, string>();
      sets.set(set, expiries);
      records.set(name, kept);
      for (const [old, until] of expiries) {
        if (until > Number(now)) continue;
        expiries.delete(old);
        kept.delete(old);
      }
      const before = expiries.get(id);
      const later = before !== undefined && before > Number(expiry) ? kept.get(id) : undefined;
      if (later !== undefined && later.length <= Number(longest) && later !== unwanted) return later;
      if (before === undefined && expiries.size >= Number(most)) return 0;
      expiries.set(id, Number(expiry));
      kept.set(id, record);
      return 1;
    },
    [RECALL.name]([set = '', name = ''], [now = '', offset = '', most = '', longest = '']) {
      const current = [...(sets.get(set) ?? [])].filter(([, until]) => until > Number(now));
      current.sort(([, one], [, other]) => other - one);
      const page = current.slice(Number(offset), Number(offset) + Number(most));
      const found = page.map(([id]) => [id, records.get(name)?.get(id) ?? ''] as const);
      return [
        String(page.length),
        ...found.filter((pair) => pair.every(({ length }) => length > 0 && length <= Number(longest))).flat(),
      ];
    },
  };

  const connect: ConnectStore = async (_shared, onLost) => {
    store.connections += 1;
    await reply(() => undefined);
    const own = new Set<{ channel: string; listener: (message: string) => void }>();
    const connection: StoreConnection = {
      run: ({ name }, keys, args) => reply(() => (scripts[name] as Run)(keys, args)),
      get: (key) => reply(() => values.get(key)),
      set: (key, value) => reply(() => values.set(key, value)),
      add: (key, value) => reply(() => values.has(key) || values.set(key, value)),
      delete: (keys) => reply(() => keys.map((key) => [values, sets, records].some((each) => each.delete(key)))),
      publish: (channel, message) =>
        reply(() => {
          store.messages.push({ channel, message });
          const receivers = [...listeners].filter((each) => each.channel === channel).length;
          if (!store.withholds) store.deliver(channel, message);
          return receivers;
        }),
      subscribe: (channel, listener) =>
        reply(() => {
          const each = { channel, listener };
          own.add(each);
          listeners.add(each);
        }),
      destroy() {
        losers.delete(onLost);
        for (const each of own) listeners.delete(each);
      },
    };
    losers.add(onLost);
    return connection;
  };

  const store = {
    /** A test may wrap it. */
    connect,
    values,
    /** Names of records by set, with their expiry. */
    sets,
    records,
    messages: [] as { readonly channel: string; readonly message: string }[],
    /** The fault of each operation and connection from now on. `silent`: no reply. */
    fault: undefined as Error | 'silent' | undefined,
    /** Delivers no messages, but says that it does. */
    withholds: false,
    operations: 0,
    connections: 0,
    /** Ends every open connection with an error. */
    drop(error: Error) {
      for (const lose of [...losers]) lose(error);
    },
    /** Delivers a message as the server does. */
    deliver(channel: string, message: string) {
      for (const each of [...listeners]) if (each.channel === channel) each.listener(message);
    },
  };

  async function reply<T>(work: () => T): Promise<T> {
    store.operations += 1;
    const { fault } = store;
    if (fault === 'silent') return new Promise<T>(() => {});
    if (fault !== undefined) throw fault;
    return work();
  }

  return store;
}
