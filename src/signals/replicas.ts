import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import { gauge, type MetricFamily, sample } from '../observability/metric-families.ts';
import type { SharedRecords } from '../shared-cache/records.ts';
import type { SharedCacheSide } from '../shared-cache/shared-cache.ts';
import type { RevocationEntry, Revocations } from '../tokens/revocations.ts';
import { batchesOf, idOf, readEntries, toWire } from './replica-wire.ts';

/** The revocations of replicas in `/status.json`. */
export interface ReplicaStatus {
  /** Revocations that other replicas were not told of yet. */
  readonly unshared: number;
  /** Does this replica know the revocations of the others? */
  readonly in_sync: boolean;
  /** The shared cache has no room for more revocations. */
  readonly full: boolean;
}

/** Tells the other replicas of revocations, and learns theirs, through the shared cache. */
export interface Replicas {
  /** Begins to learn. Called once, before anything else. */
  join(revocations: Pick<Revocations, 'restore' | 'list'>): void;
  tell(entry: RevocationEntry): void;
  /** Settles once the shared cache has everything that was told, or does not take it now. Never rejects. */
  settled(): Promise<void>;
  /** Has this replica read the kept revocations? */
  readonly isComplete: boolean;
  /** Settles when they could be read. @throws {CambistError} ERR_REVOCATIONS_UNKNOWN at first, which says why this takes time */
  prepare(): Promise<void>;
  status(): ReplicaStatus;
  readonly families: readonly MetricFamily[];
  close(): void;
}

export interface ReplicasOptions {
  readonly shared: Pick<SharedCacheSide, 'messages' | 'records' | 'status'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly rememberMs: number;
  /** Issuers whose tokens can be revoked. */
  readonly issuers: readonly string[];
  readonly random?: () => number;
  /** How long a server without its data is given to running replicas. */
  readonly graceMs?: number;
}

/** How often everything is read again. A failover at the server may have lost a message or a record without a trace. */
const REFRESH_MS = 60_000;
/** A replica rests for 50 times as long as the reading took. 80,000 revocations take 10 seconds. */
const REST_FACTOR = 50;
const RETRY_MS = 500;
const GRACE_MS = 4000;
/** Others learn of the older ones when they read everything again. */
const MAX_UNSHARED = 10_000;

export function createReplicas(options: ReplicasOptions): Replicas {
  const { shared, clock, logger, rememberMs, issuers, random = Math.random, graceMs = GRACE_MS } = options;
  const { messages, records } = shared;
  const unshared = new Map<string, RevocationEntry>();
  let revocations: Pick<Revocations, 'restore' | 'list'> | undefined;
  let isComplete = false;
  let complete = (): void => {};
  const completed = new Promise<void>((resolve) => {
    complete = resolve;
  });
  let hasFailed = false;
  /** Messages may have been lost since everything was read. */
  let isStale = true;
  let isFull = false;
  let unreadable = 0;
  let isUnsharedLogged = false;
  /** When a server without revocations was found. */
  let emptySinceMs: number | undefined;
  let telling: Promise<void> | undefined;
  let reading: Promise<boolean> | undefined;
  let readsAgain = false;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  /**
   * Keeps each entry, then publishes all. A replica that starts meanwhile subscribes before it reads, so it learns by one of the
   * two. The reverse order could miss it twice.
   */
  async function tellBatch(batch: readonly RevocationEntry[]): Promise<boolean> {
    const kept = await Promise.all(batch.map((entry) => keep(entry, false)));
    const isPublished = await messages.publish('revoked', batch.map(toWire));
    if (kept.includes('full')) isFull = true;
    batch.forEach((entry, index) => {
      const isTold = isPublished && kept[index] !== 'failed';
      if (isTold && unshared.get(idOf(entry)) === entry) unshared.delete(idOf(entry));
    });
    return isPublished && !kept.includes('failed');
  }

  function keep(entry: RevocationEntry, overwrites: boolean): ReturnType<SharedRecords['keep']> {
    return records.keep(idOf(entry), toWire(entry), entry.atMs + rememberMs, overwrites);
  }

  async function tellAll(): Promise<void> {
    // One revocation adds up to two entries.
    await Promise.resolve();
    while (unshared.size > 0) {
      for (const batch of batchesOf(unshared.values())) {
        if (!(await tellBatch(batch))) return waitForStore();
      }
    }
    if (isUnsharedLogged) logger.info({}, 'other replicas were told of the revocations that waited');
    isUnsharedLogged = false;
  }

  function waitForStore(): void {
    refreshIn(RETRY_MS);
    if (isUnsharedLogged) return;
    isUnsharedLogged = true;
    logger.warn({}, 'other replicas could not be told of a revocation; it waits for the shared cache');
  }

  function tellSoon(): Promise<void> {
    telling ??= tellAll().finally(() => {
      telling = undefined;
    });
    return telling;
  }

  async function read(): Promise<boolean> {
    const known = revocations;
    if (known === undefined) return false;
    const kept = new Map<string, number>();
    const list = await records.readAll((payloads) => {
      const entries = readEntries(payloads);
      known.restore(entries);
      for (const entry of entries) kept.set(idOf(entry), entry.atMs);
    });
    if (list === undefined) return false;
    if (!isComplete && !list.isSeeded && isEarly()) return false;
    if (list.isFull && isStale) refuseOlder(known);
    if (list.unreadable > unreadable) {
      logger.warn(
        {},
        `${list.unreadable} records of revocations do not open: check that replicas have the same cache.shared.key`,
      );
    }
    unreadable = list.unreadable;
    isFull = list.isFull;
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
  function refuseOlder({ restore }: Pick<Revocations, 'restore'>): void {
    const atMs = clock.wallMs();
    restore(issuers.map((issuer) => ({ key: '', issuer, atMs })));
    logger.error({}, 'the shared cache is full of revocations; refusing all older tokens: lower signals.remember');
  }

  /** The server may have lost its data: it restarted empty, or another one took over. */
  async function keepMissing(known: readonly RevocationEntry[], kept: ReadonlyMap<string, number>): Promise<void> {
    const missing = known.filter((entry) => (kept.get(idOf(entry)) ?? Number.NEGATIVE_INFINITY) < entry.atMs);
    for (const batch of batchesOf(missing)) {
      const results = await Promise.all(batch.map((entry) => keep(entry, true)));
      if (results.includes('full')) isFull = true;
      if (results.some((result) => result !== 'kept')) return;
    }
    await records.seed(clock.wallMs() + rememberMs);
  }

  /** Reads again if a subscription began during the reading, because messages before it were lost. */
  async function readUntilCurrent(): Promise<boolean> {
    for (;;) {
      readsAgain = false;
      const isRead = await read();
      if (readsAgain) continue;
      if (isRead) isStale = false;
      return isRead;
    }
  }

  function refresh(): Promise<boolean> {
    if (reading !== undefined) {
      readsAgain = true;
      return reading;
    }
    const startedMs = clock.monotonicMs();
    reading = readUntilCurrent()
      .catch((error: unknown) => {
        logger.error({ err: error }, 'unexpected error; reading the kept revocations again');
        return false;
      })
      .finally(() => {
        reading = undefined;
      });
    void reading.then((isRead) => {
      const restMs = Math.max(REFRESH_MS, (clock.monotonicMs() - startedMs) * REST_FACTOR);
      refreshIn(isRead ? restMs * (0.75 + random() / 2) : RETRY_MS);
      if (isRead && unshared.size > 0) void tellSoon();
    });
    return reading;
  }

  function refreshIn(ms: number): void {
    clearTimeout(timer);
    if (!isClosed) timer = setTimeout(() => void refresh(), ms).unref();
  }

  const isInSync = (): boolean => !isStale && shared.status().available;

  return {
    join(joined) {
      revocations = joined;
      messages.on('revoked', (payload) => {
        const count = joined.restore(readEntries(payload));
        if (count > 0) logger.info({}, `revocations of another replica took effect: ${count}`);
      });
      messages.onSubscribed(() => {
        isStale = true;
        void refresh();
      });
      // Subscribed before this: nothing is lost between the two.
      void refresh();
    },
    tell(entry) {
      const id = idOf(entry);
      unshared.delete(id);
      unshared.set(id, entry);
      if (unshared.size > MAX_UNSHARED) unshared.delete(unshared.keys().next().value as string);
      void tellSoon();
    },
    settled: async () => telling,
    get isComplete() {
      return isComplete;
    },
    async prepare() {
      if (isComplete || (await refresh())) return;
      // The check that failed once then passes as soon as it can, and not at its next attempt.
      if (hasFailed) return completed;
      hasFailed = true;
      throw unknown(shared.status(), emptySinceMs !== undefined);
    },
    status: () => ({ unshared: unshared.size, in_sync: isInSync(), full: isFull }),
    families: [
      gauge('cambist_revocations_unshared', 'Revocations that other replicas were not told of yet.', () => [
        sample({}, unshared.size),
      ]),
      gauge(
        'cambist_revocations_in_sync',
        'Whether this replica learns of the revocations of other replicas: 0 while the shared cache is unavailable.',
        () => [sample({}, isInSync() ? 1 : 0)],
      ),
    ],
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

function unknown({ problem, fix }: ReturnType<SharedCacheSide['status']>, isEmpty: boolean): CambistError {
  const why = problem ?? (isEmpty ? 'the server is empty, and running replicas may still write to it' : 'no reply');
  const error = new CambistError(
    'ERR_REVOCATIONS_UNKNOWN',
    `cache.shared: the kept revocations are unknown, so revoked tokens could be served: ${why}: see the fix of cache.shared in /status.json`,
  );
  error.diagnosis = {
    finding: 'revocations_not_shared',
    cause: `the shared cache has not shown yet which tokens are revoked: ${why}`,
    fix: fix ?? 'wait a few seconds; if it lasts, check the load of the server',
  };
  return error;
}
