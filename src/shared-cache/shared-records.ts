import { setImmediate } from 'node:timers/promises';
import type { JsonObject } from '../tokens/token-text.ts';
import { KEEP, RECALL } from './scripts.ts';
import { nameOf, openWith, type StoreKey, type StoreKeyList, seal } from './seal.ts';
import type { Store, StoreParts } from './store.ts';
import type { Operation, StoreCounts } from './store-counts.ts';

/** `full`: the server has room for no other record. `failed`: the server did not take it. */
export type KeepResult = 'kept' | 'full' | 'failed';

export interface RecordSummary {
  /** Records that do not open: altered, forged, or sealed under an unknown key. */
  readonly unreadable: number;
  /** The server has no room, so that records may be missing. */
  readonly isFull: boolean;
  /** A replica has marked the server as complete. A server that lost its data has lost the mark as well. */
  readonly isMarked: boolean;
}

export interface OpenedRecord {
  readonly payload: unknown;
  /** Sealed under the first key. Other records are lost when their key is removed. */
  readonly isCurrent: boolean;
}

interface RecordsOptions extends Pick<StoreParts, 'keys' | 'clock' | 'prefix'> {
  readonly store: Pick<Store, 'use'>;
  readonly counts: Pick<StoreCounts, 'operation'>;
}

const MAX_RECORDS = 100_000;
/** Longest record in characters, sealed. */
const MAX_LENGTH = 16 * 1024;
/** Large, because a round trip takes 20 ms on a busy machine. A page keeps the server busy for 1 ms, which other clients do not notice. */
const PAGE = 500;
/** Opening a record takes about 100 µs, and no request may wait for a whole page. */
const OPENED_AT_ONCE = 50;
/** Longer than a request's limit, because no request waits for records. */
const LIMIT_MS = 1000;

/** The id of the record that marks the server as complete. */
const MARK = 'mark';

/** The content of a sealed record. Its expiry is sealed as well, so that nothing at the server prolongs it. */
interface Content {
  readonly expiresAtMs: number;
  readonly payload?: unknown;
  readonly isMark?: true;
}

/** Records that replicas keep until they expire, such as revocations. Sealed under the shared key. */
export type SharedRecords = ReturnType<typeof createRecords>;

export function createRecords({ store, keys, counts, clock, prefix }: RecordsOptions) {
  /** Both are in one slot of a cluster. */
  const name = `${prefix}:{records}`;
  const names = [name, `${name}:values`];
  const contextOf = (place: string) => ['record', name, place] as const;

  /** @returns undefined if a key is unavailable. Keys are read at each use, so the next attempt may find them. */
  async function readKeys(operation: Operation): Promise<StoreKeyList | undefined> {
    try {
      return await keys.read();
    } catch {
      counts.operation(operation, 'error');
      return undefined;
    }
  }

  /** Its texts are alternating names and sealed records. Names of records that are too long are missing. */
  async function readPage(offset: number) {
    const list = await readKeys('recall');
    if (list === undefined) return undefined;
    const args = [clock.wallMs(), offset, PAGE, MAX_LENGTH].map(String);
    const reply = await store.use('recall', (server) => server.run(RECALL, names, args), LIMIT_MS);
    if (reply === undefined || !Array.isArray(reply.value)) return undefined;
    const [size, ...texts] = (reply.value as unknown[]).slice(0, 1 + 2 * PAGE);
    return { size: Number(size), texts, keys: list };
  }

  function openAll(texts: readonly unknown[], list: StoreKeyList) {
    const records: OpenedRecord[] = [];
    let [unreadable, isMarked] = [0, false];
    for (let at = 0; at + 1 < texts.length; at += 2) {
      const found = openWith(list, texts[at + 1], contextOf(String(texts[at])));
      if (found === undefined) {
        unreadable += 1;
        counts.operation('recall', 'invalid');
      } else if (!isOver(found.content)) {
        if (found.content.isMark === true) isMarked = true;
        else records.push({ payload: found.content.payload, isCurrent: found.key === list[0] });
      }
    }
    return { records, unreadable, isMarked };
  }

  async function keep(id: string, content: Content): Promise<KeepResult> {
    const { expiresAtMs } = content;
    if (expiresAtMs <= clock.wallMs()) return 'kept';
    const [key] = (await readKeys('record')) ?? [];
    if (key === undefined) return 'failed';
    const nowMs = clock.wallMs();
    const place = nameOf(key, 'record', id);
    const record = seal(JSON.stringify(content), undefined, key, contextOf(place));
    if (record.length > MAX_LENGTH) return 'failed';
    const numbers = [expiresAtMs, nowMs, Math.ceil(expiresAtMs - nowMs), MAX_RECORDS, MAX_LENGTH];
    const args = [place, record, ...numbers.map(String)];
    let unwanted = '';
    for (let attempt = 0; attempt < 2; attempt += 1) {
      const reply = await store.use('record', (server) => server.run(KEEP, names, [...args, unwanted]), LIMIT_MS);
      if (reply === undefined) return 'failed';
      const later = typeof reply.value === 'string' ? reply.value : undefined;
      if (later === undefined || expiryOf(later, key, place) >= expiresAtMs) {
        const isKept = later !== undefined || reply.value === 1;
        counts.operation('record', isKept ? 'ok' : 'error');
        return isKept ? 'kept' : 'full';
      }
      counts.operation('record', 'invalid');
      // Exactly this one is replaced, because another replica may have kept a later record meanwhile.
      unwanted = later.slice(0, MAX_LENGTH);
    }
    return 'failed';
  }

  /** The sealed expiry. The server could alter any other. */
  function expiryOf(sealed: string, key: StoreKey, place: string): number {
    const { expiresAtMs } = openWith([key], sealed, contextOf(place))?.content ?? {};
    return typeof expiresAtMs === 'number' ? expiresAtMs : Number.NEGATIVE_INFINITY;
  }

  return {
    /**
     * Keeps a record. Never rejects.
     * @param id a record with the same id is replaced, unless it opens and expires later
     * @param payload anything that JSON can express, at most 8 KiB
     * @param expiresAtMs epoch milliseconds
     */
    keep: (id: string, payload: unknown, expiresAtMs: number): Promise<KeepResult> =>
      keep(`record ${id}`, { expiresAtMs, payload }),
    /** Marks the server as complete. Never rejects. @param expiresAtMs epoch milliseconds */
    mark: (expiresAtMs: number): Promise<KeepResult> => keep(MARK, { expiresAtMs, isMark: true }),
    /**
     * Reads all records that are not expired, in no order. Rejects only with an error of `onPage`.
     * @param onPage gets a few records at a time, with time for requests in between
     * @returns undefined while they cannot be read
     */
    async readAll(onPage: (records: readonly OpenedRecord[]) => void): Promise<RecordSummary | undefined> {
      let [size, unreadable, isMarked] = [0, 0, false];
      for (let offset = 0; offset < MAX_RECORDS; offset += PAGE) {
        const page = await readPage(offset);
        if (page === undefined) return undefined;
        for (let at = 0; at < page.texts.length; at += 2 * OPENED_AT_ONCE) {
          if (at > 0) await setImmediate();
          const opened = openAll(page.texts.slice(at, at + 2 * OPENED_AT_ONCE), page.keys);
          onPage(opened.records);
          unreadable += opened.unreadable;
          isMarked ||= opened.isMarked;
        }
        size += page.size;
        if (page.size < PAGE) break;
      }
      counts.operation('recall', 'ok');
      return { unreadable, isFull: size >= MAX_RECORDS, isMarked };
    },
  };

  function isOver({ expiresAtMs }: JsonObject): boolean {
    return typeof expiresAtMs !== 'number' || expiresAtMs <= clock.wallMs();
  }
}
