import type { Logger } from '../observability/logger.ts';
import type { SharedMessages } from '../shared-cache/messages.ts';
import type { KeepResult } from '../shared-cache/shared-records.ts';
import { inTime } from '../shared-cache/store-problems.ts';
import type { RevocationEntry } from '../tokens/revocation-list.ts';
import { MAX_REVOCATIONS } from '../tokens/revocations.ts';
import { batchOf, idOf, toWire } from './revocation-wire.ts';

/** Returns true once the shared cache has everything that was published before. */
export type IsShared = () => boolean;

export interface PublisherOptions {
  readonly messages: Pick<SharedMessages, 'publish'>;
  /** Writes the entries of one message. Never rejects. */
  readonly write: (batch: readonly RevocationEntry[]) => Promise<readonly KeepResult[]>;
  readonly logger: Logger;
}

interface Waiting extends RevocationEntry {
  readonly sequence: number;
}

/** A replica may publish its whole list at once, with one entry for each issuer besides. Beyond that, the oldest are dropped. */
const MAX_UNSHARED = 2 * MAX_REVOCATIONS;
/** A slow server may take an hour for a long list. Meanwhile, signals of transmitters are applied but not acknowledged. */
const SETTLE_MS = 5000;
const RETRY_MS = 500;

/** Writes revocations to the shared cache, and publishes them to the running replicas. Retries until both succeed. */
export type Publisher = ReturnType<typeof createPublisher>;

export function createPublisher({ messages, write, logger }: PublisherOptions) {
  /** The oldest first. */
  const unshared = new Map<string, Waiting>();
  /** The sequence number that each waits for: an attempt must include everything up to it. */
  const waiters = new Map<() => void, number>();
  let sequence = 0;
  let isPublishing = false;
  let isFailureLogged = false;
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;

  const isSharedUpTo = (upTo: number): boolean => (unshared.values().next().value?.sequence ?? Infinity) > upTo;

  /**
   * Writes, then publishes. A replica that starts meanwhile subscribes before it reads, so it learns by one of the two. The reverse
   * order could miss it twice.
   */
  async function shareBatch(batch: readonly RevocationEntry[]): Promise<boolean> {
    const results = await write(batch);
    const isPublished = await messages.publish('revoked', batch.map(toWire));
    for (const [index, entry] of batch.entries()) {
      const isShared = isPublished && results[index] !== 'failed';
      if (isShared && unshared.get(idOf(entry)) === entry) unshared.delete(idOf(entry));
    }
    return isPublished && !results.includes('failed');
  }

  async function shareAll(): Promise<void> {
    clearTimeout(retry);
    isPublishing = true;
    // One revocation adds up to two entries, which share a message.
    await Promise.resolve();
    let succeeded = true;
    while (succeeded && unshared.size > 0) {
      const batch = batchOf(unshared.values());
      succeeded = await shareBatch(batch);
      settle((upTo) => !succeeded || isSharedUpTo(upTo));
    }
    isPublishing = false;
    if (isClosed) return;
    if (!succeeded) retry = setTimeout(() => void shareAll(), RETRY_MS).unref();
    logChange(succeeded);
  }

  function settle(isSettled: (upTo: number) => boolean): void {
    for (const [resolve, upTo] of waiters) if (isSettled(upTo)) resolve();
  }

  function logChange(succeeded: boolean): void {
    if (isFailureLogged !== succeeded) return;
    isFailureLogged = !succeeded;
    if (succeeded) logger.info({}, 'the revocations that waited were written to the shared cache');
    else
      logger.warn(
        {},
        'a revocation was not written to the shared cache; retrying, because other replicas do not know it',
      );
  }

  /** @param limitMs undefined: waits for as long as it takes */
  async function nextAttempt(upTo: number, limitMs?: number): Promise<void> {
    let settled = (): void => {};
    const attempted = new Promise<void>((resolve) => {
      settled = resolve;
    });
    waiters.set(settled, upTo);
    await (limitMs === undefined ? attempted : inTime(attempted, limitMs).catch(() => {}));
    waiters.delete(settled);
  }

  return {
    publish(entry: RevocationEntry): void {
      const id = idOf(entry);
      sequence += 1;
      unshared.delete(id);
      unshared.set(id, { ...entry, sequence });
      if (unshared.size > MAX_UNSHARED) unshared.delete(unshared.keys().next().value as string);
      if (!isPublishing) void shareAll();
    },
    /** Settles once the shared cache has everything that was published before this call, or an attempt failed. Never rejects. */
    async settled(): Promise<IsShared> {
      const upTo = sequence;
      if (isPublishing && !isSharedUpTo(upTo)) await nextAttempt(upTo, SETTLE_MS);
      return () => isSharedUpTo(upTo);
    },
    /** Settles once the shared cache has everything. */
    async allShared(): Promise<void> {
      while (unshared.size > 0) await nextAttempt(sequence);
    },
    /** Number of revocations that the shared cache does not have yet. */
    get unshared() {
      return unshared.size;
    },
    close(): void {
      isClosed = true;
      clearTimeout(retry);
    },
  };
}
