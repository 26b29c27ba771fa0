import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../clock/clock.ts';
import type { Logger } from '../observability/logger.ts';
import type { RecordSummary, SharedRecords } from '../shared-cache/shared-records.ts';
import type { RevocationEntry } from '../tokens/revocation-list.ts';
import type { Revocations } from '../tokens/revocations.ts';
import type { Publisher } from './publisher.ts';
import { idOf, readEntries } from './revocation-wire.ts';

/** The list of this replica, which learns the stored revocations. */
export type KnownRevocations = Pick<Revocations, 'restore' | 'list'>;

export interface ReconcilerOptions {
  readonly records: Pick<SharedRecords, 'readAll' | 'mark'>;
  readonly known: () => KnownRevocations;
  readonly publisher: Pick<Publisher, 'publish' | 'allShared'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly rememberMs: number;
  readonly issuers: () => readonly string[];
  readonly random: () => number;
  /** Longest wait for other replicas to write, where the mark is missing. */
  readonly waitMs: number;
  readonly onRead: (summary: RecordSummary) => void;
}

interface Stored extends RecordSummary {
  /** Epoch milliseconds by identity, of records that outlast the rotation of the key. */
  readonly current: ReadonlyMap<string, number>;
}

/** A failover at the server may have lost a message or a record without a trace. */
const REFRESH_MS = 60_000;
/** The pause after a reading is at least 50 times as long. 80,000 revocations take 4 to 11 seconds. */
const PAUSE_FACTOR = 50;
const RETRY_MS = 500;

/** Reconciles this replica with the shared cache: at the start, after each reconnection, and regularly. */
export type Reconciler = ReturnType<typeof createReconciler>;

export function createReconciler(options: ReconcilerOptions) {
  const { records, publisher, clock, logger, rememberMs, random, waitMs, onRead } = options;
  const reader = createRecordReader(options);
  const closing = new AbortController();
  const { signal } = closing;
  let isStale = true;
  let isComplete = false;
  let isReadable = false;
  let isWaiting = false;
  let isMarking = false;
  let readsAgain = false;
  let running: Promise<boolean> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let complete = (): void => {};
  const completed = new Promise<void>((resolve) => {
    complete = resolve;
  });

  async function reconcile(): Promise<boolean> {
    let stored = await reader.read();
    if (isStale && stored?.isMarked === false) {
      // Replicas that start wait for what this one knows.
      if (isComplete) publishMissing(stored, options);
      isWaiting = true;
      await sleep(waitMs, undefined, { signal }).catch(() => {});
      isWaiting = false;
      stored = await reader.read();
    }
    if (stored === undefined || readsAgain || signal.aborted) return false;
    if (isStale && stored.isFull) refuseOlder(options);
    isStale = false;
    isComplete = true;
    complete();
    onRead(stored);
    if (!stored.isFull) {
      publishMissing(stored, options);
      void mark();
    }
    return true;
  }

  async function mark(): Promise<void> {
    if (isMarking) return;
    isMarking = true;
    await publisher.allShared();
    // A server that has lost its data meanwhile is not complete.
    if (!isStale) await records.mark(clock.wallMs() + rememberMs);
    isMarking = false;
  }

  /** Reads again if the subscription began during the reading, because messages before it were lost. */
  async function reconcileUntilCurrent(): Promise<boolean> {
    try {
      for (;;) {
        readsAgain = false;
        const succeeded = await reconcile();
        if (!readsAgain || signal.aborted) return succeeded;
      }
    } catch (error) {
      logger.error({ err: error }, 'unexpected error; reading the stored revocations again');
      return false;
    }
  }

  /** Reads now, or joins the reading in progress. Never rejects. @returns false if it failed, and will be retried */
  function refresh(): Promise<boolean> {
    running ??= reconcileUntilCurrent().then((succeeded) => {
      running = undefined;
      isReadable = succeeded;
      clearTimeout(timer);
      const pauseMs = Math.max(REFRESH_MS, reader.lastMs() * PAUSE_FACTOR) * (0.75 + random() / 2);
      if (!signal.aborted) timer = setTimeout(() => void refresh(), succeeded ? pauseMs : RETRY_MS).unref();
      return succeeded;
    });
    return running;
  }

  return {
    refresh,
    /** The subscription began again, so that earlier messages may be lost. */
    resubscribed(): void {
      isStale = true;
      readsAgain = running !== undefined;
      void refresh();
    },
    /** This replica knows what the shared cache has. */
    get isCurrent() {
      return !isStale && isReadable;
    },
    get isComplete() {
      return isComplete;
    },
    /** Settles when it has. */
    completed,
    /** The mark was missing, and this replica waits for others to write. */
    get isWaiting() {
      return isWaiting;
    },
    close(): void {
      closing.abort();
      clearTimeout(timer);
    },
  };
}

/** Reads the stored revocations into the list of this replica. */
function createRecordReader({ records, known, clock, logger }: ReconcilerOptions) {
  let unreadable = 0;
  let lastMs = 0;

  return {
    async read(): Promise<Stored | undefined> {
      const startedMs = clock.monotonicMs();
      const current = new Map<string, number>();
      const summary = await records.readAll((page) => {
        known().restore(readEntries(page.map(({ payload }) => payload)));
        // This replica writes the other records again under the first key, before an operator removes theirs.
        const lasting = page.filter(({ isCurrent }) => isCurrent).map(({ payload }) => payload);
        for (const entry of readEntries(lasting)) current.set(idOf(entry), entry.atMs);
      });
      lastMs = clock.monotonicMs() - startedMs;
      if (summary === undefined) return undefined;
      if (summary.unreadable > unreadable) {
        logger.warn(
          {},
          `${summary.unreadable} records of revocations do not open: check that replicas have the same cache.shared.key`,
        );
      }
      unreadable = summary.unreadable;
      return { ...summary, current };
    },
    /** Milliseconds that the last reading took. */
    lastMs: (): number => lastMs,
  };
}

/** Revocations that found no room are unknown to a replica that received no message of them, so any older token may be revoked. */
function refuseOlder({ known, issuers, clock, logger }: ReconcilerOptions): void {
  const atMs = clock.wallMs();
  known().restore(issuers().map((issuer) => ({ key: '', issuer, atMs })));
  logger.error({}, 'the shared cache is full of revocations; refusing all older tokens: lower signals.remember');
}

/** The server may have lost its data: it restarted empty, or another one took over. */
function publishMissing({ current }: Stored, { known, publisher }: ReconcilerOptions): void {
  const isMissing = (entry: RevocationEntry): boolean =>
    (current.get(idOf(entry)) ?? Number.NEGATIVE_INFINITY) < entry.atMs;
  for (const entry of known().list().filter(isMissing)) publisher.publish(entry);
}
