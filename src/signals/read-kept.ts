import type { Clock } from '../clock/clock.ts';
import type { Logger } from '../observability/logger.ts';
import type { RecordSummary, SharedRecords } from '../shared-cache/records.ts';
import type { RevocationEntry } from '../tokens/revocation-list.ts';
import type { Revocations } from '../tokens/revocations.ts';
import { batchesOf, idOf, type KeepBatch, readEntries } from './replica-wire.ts';

/** The list that learns of kept revocations. */
export type KnownRevocations = Pick<Revocations, 'restore' | 'list'>;

/** The kept revocations of one reading. */
export interface Kept extends RecordSummary {
  /** Epoch milliseconds by identity, of records that outlast the rotation of the key. */
  readonly current: ReadonlyMap<string, number>;
}

/** Reads the revocations that replicas keep at the shared cache. */
export interface KeptReader {
  /** Reads all. @returns undefined if they cannot be read */
  read(): Promise<Kept | undefined>;
  /** Does this replica know revocations that are missing there? */
  isMissing(kept: Kept): boolean;
  /** Writes those that are missing. The server may have lost its data: it restarted empty, or another one took over. */
  keepMissing(kept: Kept): Promise<void>;
}

export interface KeptReaderOptions {
  readonly records: Pick<SharedRecords, 'readAll' | 'seed'>;
  readonly known: () => KnownRevocations;
  readonly keep: KeepBatch;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly rememberMs: number;
}

export function createKeptReader({ records, known, keep, clock, logger, rememberMs }: KeptReaderOptions): KeptReader {
  let unreadable = 0;

  const missing = ({ current }: Kept): RevocationEntry[] =>
    known()
      .list()
      .filter((entry) => (current.get(idOf(entry)) ?? Number.NEGATIVE_INFINITY) < entry.atMs);

  return {
    async read() {
      const { restore } = known();
      const current = new Map<string, number>();
      const list = await records.readAll((page) => {
        restore(readEntries(page.map(({ payload }) => payload)));
        // The others are written again under the first key, before an operator removes theirs.
        const lasting = page.filter(({ isCurrent }) => isCurrent).map(({ payload }) => payload);
        for (const entry of readEntries(lasting)) current.set(idOf(entry), entry.atMs);
      });
      if (list === undefined) return undefined;
      if (list.unreadable > unreadable) {
        logger.warn(
          {},
          `${list.unreadable} records of revocations do not open: check that replicas have the same cache.shared.key`,
        );
      }
      unreadable = list.unreadable;
      return { ...list, current };
    },
    isMissing: (kept) => missing(kept).length > 0,
    async keepMissing(kept) {
      for (const batch of batchesOf(missing(kept))) {
        const results = await keep(batch);
        if (results.some((result) => result !== 'kept')) return;
      }
      await records.seed(clock.wallMs() + rememberMs);
    },
  };
}
