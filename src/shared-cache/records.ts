import type { Clock } from '../clock/clock.ts';
import { parseJsonObject } from '../tokens/json-object.ts';
import type { StoreCounts } from './counts.ts';
import type { StoreKeys } from './keys.ts';
import { KEEP, RECALL } from './scripts.ts';
import { open, seal } from './seal.ts';
import type { Store } from './store.ts';

/** Records that replicas keep until they expire, such as revocations. Sealed under the shared key. */
export interface SharedRecords {
  /**
   * Keeps a record. Never rejects.
   * @param payload anything that JSON can express, at most 8 KiB
   * @param expiresAtMs epoch milliseconds
   * @returns false if the server did not take it, or has no room
   */
  keep(payload: unknown, expiresAtMs: number): Promise<boolean>;
  /** All records that are not expired, in no order. Undefined while they cannot be read. */
  readAll(): Promise<readonly unknown[] | undefined>;
}

export interface RecordsOptions {
  readonly store: Store;
  readonly keys: StoreKeys;
  readonly counts: StoreCounts;
  readonly clock: Clock;
  readonly prefix: string;
}

const MAX_RECORDS = 100_000;
/** Longest record in characters, sealed. */
const MAX_LENGTH = 16 * 1024;
const PAGE = 500;
/** Time limit, because no request waits for records. */
const LIMIT_MS = 1000;

export function createRecords({ store, keys, counts, clock, prefix }: RecordsOptions): SharedRecords {
  /** One key, and so one slot of a cluster. */
  const name = `${prefix}:{records}`;
  const context = ['record', name] as const;

  /** @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE */
  async function readPage(offset: number): Promise<{ readonly size: number; readonly records: unknown[] } | undefined> {
    const list = await keys.read();
    const args = [clock.wallMs(), offset, PAGE, MAX_LENGTH].map(String);
    const reply = await store.use('recall', (server) => server.run(RECALL, [name], args), LIMIT_MS);
    if (reply === undefined || !Array.isArray(reply.value)) return undefined;
    const [size, ...sealed] = reply.value as unknown[];
    const records = sealed.flatMap((each) => {
      for (const key of list) {
        const text = open(each, undefined, key, context);
        if (text !== undefined) return current(text);
      }
      counts.operation('recall', 'invalid');
      return [];
    });
    return { size: Number(size), records };
  }

  /** The expiry is sealed as well, so that nothing at the server prolongs a record. */
  function current(text: string): unknown[] {
    const { expiresAtMs, payload } = parseJsonObject(text) ?? {};
    return typeof expiresAtMs === 'number' && expiresAtMs > clock.wallMs() ? [payload] : [];
  }

  return {
    async keep(payload, expiresAtMs) {
      const lifetimeMs = Math.ceil(expiresAtMs - clock.wallMs());
      if (lifetimeMs <= 0) return true;
      try {
        const [key] = await keys.read();
        const record = seal(JSON.stringify({ expiresAtMs, payload }), undefined, key, context);
        if (record.length > MAX_LENGTH) return false;
        const args = [record, String(expiresAtMs), ...[clock.wallMs(), lifetimeMs, MAX_RECORDS].map(String)];
        const kept = await store.use('record', (server) => server.run(KEEP, [name], args), LIMIT_MS);
        if (kept !== undefined) counts.operation('record', kept.value === 1 ? 'ok' : 'error');
        return kept?.value === 1;
      } catch {
        counts.operation('record', 'error');
        return false;
      }
    },
    async readAll() {
      const all: unknown[] = [];
      try {
        for (let offset = 0; offset < MAX_RECORDS; offset += PAGE) {
          const page = await readPage(offset);
          if (page === undefined) return undefined;
          all.push(...page.records);
          if (page.size < PAGE) break;
        }
      } catch {
        counts.operation('recall', 'error');
        return undefined;
      }
      counts.operation('recall', 'ok');
      return all;
    },
  };
}
