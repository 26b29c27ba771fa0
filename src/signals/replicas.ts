import type { Clock } from '../clock/clock.ts';
import type { Logger } from '../observability/logger.ts';
import { gauge, type MetricFamily, sample } from '../observability/metric-families.ts';
import type { SharedCacheSide } from '../shared-cache/shared-cache.ts';
import type { RevocationEntry } from '../tokens/revocation-list.ts';
import { createAsker, GRACE_MS } from './ask-replicas.ts';
import { createKeptReader, type KnownRevocations } from './read-kept.ts';
import { createReadinessCheck } from './replica-readiness.ts';
import { idOf, type KeepBatch, readEntries, toWire } from './replica-wire.ts';
import { createReplier } from './reply-to-replicas.ts';
import { createSync, RETRY_MS } from './sync-replicas.ts';
import { createTeller, type Teller } from './tell-replicas.ts';

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
  settled: Teller['settled'];
  allTold: Teller['allTold'];
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
  /** How long running replicas may take to connect and to reply. */
  readonly graceMs?: number;
  /** How soon a question without a reply is repeated. */
  readonly askAgainMs?: number | undefined;
}

export function createReplicas(options: ReplicasOptions): Replicas {
  const { shared, clock, logger, rememberMs, random = Math.random, graceMs = GRACE_MS } = options;
  const { messages, records } = shared;
  let revocations: KnownRevocations | undefined;
  let isFull = false;
  let tellTimer: NodeJS.Timeout | undefined;
  let isClosed = false;

  const known = (): KnownRevocations => {
    if (revocations === undefined) throw new Error('join was not called');
    return revocations;
  };
  const keep = createKeep(options, () => {
    isFull = true;
  });
  const teller = createTeller({ messages, keep, logger, onFailed: retryTelling });
  const isStarting = (): boolean => !sync.isComplete;
  const replier = createReplier({
    messages,
    known,
    replies: () => (isStarting() ? 'never' : sync.isStale ? 'late' : 'soon'),
    clock,
    random,
  });
  const { heard } = replier;
  const asker = createAsker({ ...options, messages, known, tell: teller.tell, isStarting, heard, graceMs });
  const reader = createKeptReader({ records, known, keep, clock, logger, rememberMs });
  const sync = createSync({
    ...options,
    reader,
    asker,
    known,
    random,
    onRead: (kept) => {
      isFull = kept.isFull;
      teller.retry();
      replier.begin();
    },
  });
  /** Retries only while connected. After a new connection, everything is read again, and `onRead` retries. */
  function retryTelling(): void {
    clearTimeout(tellTimer);
    if (!isClosed && shared.status().available) tellTimer = setTimeout(teller.retry, RETRY_MS).unref();
  }

  const prepare = createReadinessCheck({ shared, sync, asker });
  const isInSync = (): boolean => !sync.isStale && shared.status().available;

  return {
    join(joined) {
      revocations = joined;
      messages.on('revoked', (payload) => {
        const count = joined.restore(readEntries(payload));
        if (count > 0) logger.info({}, `revocations of another replica took effect: ${count}`);
      });
      for (const part of [replier, asker]) {
        messages.on('revocations_asked', part.asked);
        messages.on('revocations_replied', part.replied);
      }
      messages.onSubscribed(sync.resubscribed);
      // Subscribed before this: nothing is lost between the two.
      void sync.refresh();
    },
    tell: teller.tell,
    settled: teller.settled,
    allTold: teller.allTold,
    get isComplete() {
      return sync.isComplete;
    },
    prepare,
    status: () => ({ unshared: teller.unshared, in_sync: isInSync(), full: isFull }),
    families: [...familiesOf(() => teller.unshared, isInSync), asker.family],
    close() {
      isClosed = true;
      sync.close();
      replier.close();
      clearTimeout(tellTimer);
    },
  };
}

function createKeep({ shared, rememberMs }: ReplicasOptions, onFull: () => void): KeepBatch {
  return async (batch) => {
    const results = await Promise.all(
      batch.map((entry) => shared.records.keep(idOf(entry), toWire(entry), entry.atMs + rememberMs)),
    );
    if (results.includes('full')) onFull();
    return results;
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
