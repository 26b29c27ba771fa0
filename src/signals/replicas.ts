import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import { gauge, type MetricFamily, sample } from '../observability/metric-families.ts';
import type { SharedCacheSide } from '../shared-cache/shared-cache.ts';
import type { RevocationEntry } from '../tokens/revocations.ts';
import { createKeptReader, type KnownRevocations } from './read-kept.ts';
import { idOf, type KeepBatch, readEntries, toWire } from './replica-wire.ts';
import { createTeller } from './tell-replicas.ts';

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
  join(revocations: KnownRevocations): void;
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

export function createReplicas(options: ReplicasOptions): Replicas {
  const { shared, clock, logger, rememberMs, random = Math.random, graceMs = GRACE_MS } = options;
  const { messages, records } = shared;
  let revocations: KnownRevocations | undefined;
  let hasFailed = false;
  /** Messages may have been lost since everything was read. */
  let isStale = true;
  let isFull = false;
  let reading: Promise<boolean> | undefined;
  let readsAgain = false;
  let timer: NodeJS.Timeout | undefined;
  let tellTimer: NodeJS.Timeout | undefined;
  let isClosed = false;

  const keep: KeepBatch = async (batch) => {
    const results = await Promise.all(
      batch.map((entry) => records.keep(idOf(entry), toWire(entry), entry.atMs + rememberMs)),
    );
    if (results.includes('full')) isFull = true;
    return results;
  };
  const teller = createTeller({ messages, keep, logger, onFailed: retryTelling });
  const reader = createKeptReader({
    ...options,
    records,
    keep,
    graceMs,
    onRead: (summary) => {
      isFull = summary.isFull;
    },
  });

  /** Reads again if a subscription began during the reading, because messages before it were lost. */
  async function readUntilCurrent(): Promise<boolean> {
    for (;;) {
      readsAgain = false;
      const isRead = revocations !== undefined && (await reader.read(revocations, () => isStale));
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
      if (isRead) teller.retry();
    });
    return reading;
  }

  /** To read all again would bypass the rest. A new connection does so, and then tells. */
  function retryTelling(): void {
    clearTimeout(tellTimer);
    if (!isClosed && shared.status().available) tellTimer = setTimeout(teller.retry, RETRY_MS).unref();
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
    tell: teller.tell,
    settled: teller.settled,
    get isComplete() {
      return reader.isComplete;
    },
    async prepare() {
      if (reader.isComplete || (await refresh())) return;
      // The check that failed once then passes as soon as it can, and not at its next attempt.
      if (hasFailed) return reader.completed;
      hasFailed = true;
      throw unknown(shared.status(), reader.wasEmpty);
    },
    status: () => ({ unshared: teller.unshared, in_sync: isInSync(), full: isFull }),
    families: familiesOf(() => teller.unshared, isInSync),
    close() {
      isClosed = true;
      clearTimeout(timer);
      clearTimeout(tellTimer);
    },
  };
}

function familiesOf(unshared: () => number, isInSync: () => boolean): readonly MetricFamily[] {
  return [
    gauge('cambist_revocations_unshared', 'Revocations that other replicas were not told of yet.', () => [
      sample({}, unshared()),
    ]),
    gauge(
      'cambist_revocations_in_sync',
      'Whether this replica learns of the revocations of other replicas: 0 while the shared cache is unavailable.',
      () => [sample({}, isInSync() ? 1 : 0)],
    ),
  ];
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
