import type { Clock } from '../clock/clock.ts';
import type { Logger } from '../observability/logger.ts';
import type { RecordSummary, SharedRecords } from '../shared-cache/records.ts';
import type { RevocationEntry, Revocations } from '../tokens/revocations.ts';
import { batchesOf, idOf, type KeepBatch, readEntries } from './replica-wire.ts';

/** The list that learns of kept revocations. */
export type KnownRevocations = Pick<Revocations, 'restore' | 'list'>;

/** Reads the revocations that replicas keep at the shared cache. */
export interface KeptReader {
  /**
   * Reads all, and writes those that are missing.
   * @param isStale messages may have been lost since the last reading. Called once all are read
   * @returns false if they could not be read, or if running replicas may still write them
   */
  read(known: KnownRevocations, isStale: () => boolean): Promise<boolean>;
  /** Were they read once? */
  readonly isComplete: boolean;
  /** Settles when they were read once. */
  readonly completed: Promise<void>;
  /** Was the server found without them? */
  readonly wasEmpty: boolean;
}

export interface KeptReaderOptions {
  readonly records: Pick<SharedRecords, 'readAll' | 'seed'>;
  readonly keep: KeepBatch;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly rememberMs: number;
  readonly issuers: readonly string[];
  readonly graceMs: number;
  /** Learns from each reading whether there is room for more. */
  readonly onRead: (summary: RecordSummary) => void;
}

export function createKeptReader(options: KeptReaderOptions): KeptReader {
  const { records, keep, clock, logger, rememberMs, issuers, graceMs, onRead } = options;
  let isComplete = false;
  let complete = (): void => {};
  const completed = new Promise<void>((resolve) => {
    complete = resolve;
  });
  let unreadable = 0;
  /** When a server without revocations was found. */
  let emptySinceMs: number | undefined;

  async function read(known: KnownRevocations, isStale: () => boolean): Promise<boolean> {
    const kept = new Map<string, number>();
    const list = await records.readAll((page) => {
      known.restore(readEntries(page.map(({ payload }) => payload)));
      // The others are written again under the first key, before an operator removes theirs.
      const current = page.filter(({ isCurrent }) => isCurrent).map(({ payload }) => payload);
      for (const entry of readEntries(current)) kept.set(idOf(entry), entry.atMs);
    });
    if (list === undefined) return false;
    if (!isComplete && !list.isSeeded && isEarly()) return false;
    if (list.isFull && isStale()) refuseOlder(known);
    if (list.unreadable > unreadable) {
      logger.warn(
        {},
        `${list.unreadable} records of revocations do not open: check that replicas have the same cache.shared.key`,
      );
    }
    unreadable = list.unreadable;
    onRead(list);
    isComplete = true;
    complete();
    await keepMissing(known.list(), kept);
    return true;
  }

  /**
   * A server without its data may have lost revocations that running replicas know. They write them again when they have connected
   * again, which takes up to 3 seconds.
   */
  function isEarly(): boolean {
    emptySinceMs ??= clock.monotonicMs();
    return clock.monotonicMs() - emptySinceMs < graceMs;
  }

  /** Revocations that found no room are unknown here, so all older tokens may be revoked. */
  function refuseOlder({ restore }: KnownRevocations): void {
    const atMs = clock.wallMs();
    restore(issuers.map((issuer) => ({ key: '', issuer, atMs })));
    logger.error({}, 'the shared cache is full of revocations; refusing all older tokens: lower signals.remember');
  }

  /** The server may have lost its data: it restarted empty, or another one took over. */
  async function keepMissing(known: readonly RevocationEntry[], kept: ReadonlyMap<string, number>): Promise<void> {
    const missing = known.filter((entry) => (kept.get(idOf(entry)) ?? Number.NEGATIVE_INFINITY) < entry.atMs);
    for (const batch of batchesOf(missing)) {
      const results = await keep(batch);
      if (results.some((result) => result !== 'kept')) return;
    }
    await records.seed(clock.wallMs() + rememberMs);
  }

  return {
    read,
    get isComplete() {
      return isComplete;
    },
    completed,
    get wasEmpty() {
      return emptySinceMs !== undefined;
    },
  };
}
