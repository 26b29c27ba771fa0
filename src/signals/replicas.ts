import { CambistError } from '../errors.ts';
import { gauge, type MetricFamily, sample } from '../observability/metric-families.ts';
import type { SharedCacheSide } from '../shared-cache/shared-cache.ts';
import { inTime } from '../shared-cache/store-problems.ts';
import { createPublisher, type Publisher } from './publisher.ts';
import { createReconciler, type KnownRevocations, type Reconciler, type ReconcilerOptions } from './reconciler.ts';
import { idOf, readEntries, toWire } from './revocation-wire.ts';

/** Shares revocations with the other replicas through the shared cache, which has all of them. */
export type Replicas = ReturnType<typeof createReplicas>;

interface ReplicasOptions
  extends Pick<ReconcilerOptions, 'clock' | 'logger' | 'rememberMs' | 'issuers'>,
    Partial<Pick<ReconcilerOptions, 'random' | 'waitMs'>> {
  readonly shared: Pick<SharedCacheSide, 'messages' | 'records' | 'status'>;
}

/** Replicas that lost their connection together connect again within 3 seconds, and write what the server has lost. */
const WAIT_MS = 5000;
/** A readiness check that takes longer says why. */
const CHECK_MS = 500;

export function createReplicas(options: ReplicasOptions) {
  const { shared, logger, rememberMs, random = Math.random, waitMs = WAIT_MS } = options;
  const { messages, records } = shared;
  let revocations: KnownRevocations | undefined;
  let isFull = false;
  let hasFailed = false;

  const known = (): KnownRevocations => {
    if (revocations === undefined) throw new Error('join was not called');
    return revocations;
  };
  const publisher = createPublisher({
    messages,
    logger,
    async write(batch) {
      const results = await Promise.all(
        batch.map((entry) => records.keep(idOf(entry), toWire(entry), entry.atMs + rememberMs)),
      );
      isFull ||= results.includes('full');
      return results;
    },
  });
  const reconciler = createReconciler({
    ...options,
    records,
    known,
    publisher,
    random,
    waitMs,
    onRead: (summary) => {
      isFull = summary.isFull;
    },
  });
  const isInSync = (): boolean => reconciler.isCurrent && shared.status().available;

  return {
    /** Begins to subscribe and to read. Called once, before anything else. */
    join(joined: KnownRevocations): void {
      revocations = joined;
      messages.on('revoked', (payload) => {
        const count = joined.restore(readEntries(payload));
        if (count > 0) logger.info({}, `revocations of another replica took effect: ${count}`);
      });
      messages.onSubscribed(reconciler.resubscribed);
      // The subscription began before this, so nothing is lost between the two.
      void reconciler.refresh();
    },
    publish: publisher.publish,
    settled: publisher.settled,
    allShared: publisher.allShared,
    get isComplete() {
      return reconciler.isComplete;
    },
    /** Settles when it is complete. @throws {CambistError} ERR_REVOCATIONS_UNKNOWN at first, which says why this takes time */
    async prepare(): Promise<void> {
      if (reconciler.isComplete || (await inTime(reconciler.refresh(), CHECK_MS).catch(() => false))) return;
      // After one failed check, the next one waits, so that the replica is ready as soon as possible.
      if (hasFailed) return reconciler.completed;
      hasFailed = true;
      throw unknown(shared.status(), reconciler);
    },
    /** `unshared`: revocations that the shared cache does not have yet. `full`: it has no room for more. */
    status: () => ({ unshared: publisher.unshared, in_sync: isInSync(), full: isFull }),
    families: familiesOf(publisher, isInSync),
    close(): void {
      publisher.close();
      reconciler.close();
    },
  };
}

function unknown({ problem, fix }: ReturnType<SharedCacheSide['status']>, { isWaiting }: Reconciler): CambistError {
  const reading = isWaiting ? 'the server has no data, and running replicas may still write theirs' : 'no response';
  const why = problem ?? reading;
  const error = new CambistError(
    'ERR_REVOCATIONS_UNKNOWN',
    `cache.shared: the stored revocations are unknown, so revoked tokens could be served: ${why}: see the fix of cache.shared in /status.json`,
  );
  error.diagnosis = {
    finding: 'revocations_not_shared',
    cause: `the shared cache has not shown yet which tokens are revoked: ${why}`,
    fix: fix ?? 'wait a few seconds; if it lasts, check the load of the server',
  };
  return error;
}

function familiesOf(publisher: Publisher, isInSync: () => boolean): readonly MetricFamily[] {
  return [
    gauge('cambist_revocations_unshared', 'Revocations that are not written to the shared cache yet.', () => [
      sample({}, publisher.unshared),
    ]),
    gauge(
      'cambist_revocations_in_sync',
      'Whether this replica learns of the revocations of other replicas: 0 while the shared cache is unavailable.',
      () => [sample({}, isInSync() ? 1 : 0)],
    ),
  ];
}
