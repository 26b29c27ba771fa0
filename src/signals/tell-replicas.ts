import type { Logger } from '../observability/logger.ts';
import type { SharedMessages } from '../shared-cache/messages.ts';
import type { RevocationEntry } from '../tokens/revocations.ts';
import { batchesOf, idOf, type KeepBatch, toWire } from './replica-wire.ts';

/** Tells the other replicas of the revocations of this one. */
export interface Teller {
  tell(entry: RevocationEntry): void;
  /** Tells the revocations that wait for the shared cache. */
  retry(): void;
  /** Settles once the shared cache has everything that was told, or does not take it now. Never rejects. @returns whether it has */
  settled(): Promise<boolean>;
  /** Settles once the shared cache has everything that was told. */
  allTold(): Promise<void>;
  /** Revocations that other replicas were not told of yet. */
  readonly unshared: number;
}

export interface TellerOptions {
  readonly messages: Pick<SharedMessages, 'publish'>;
  readonly keep: KeepBatch;
  readonly logger: Logger;
  /** The shared cache took no revocation, so that `retry` must be called later. */
  readonly onFailed: () => void;
}

/** Others learn of the older ones when they read everything again. */
const MAX_UNSHARED = 10_000;

export function createTeller({ messages, keep, logger, onFailed }: TellerOptions): Teller {
  const unshared = new Map<string, RevocationEntry>();
  let isUnsharedLogged = false;
  let telling: Promise<void> | undefined;
  /** Called once nothing is unshared. */
  const waiting: (() => void)[] = [];

  /**
   * Keeps each entry, then publishes all. A replica that starts meanwhile subscribes before it reads, so it learns by one of the
   * two. The reverse order could miss it twice.
   */
  async function tellBatch(batch: readonly RevocationEntry[]): Promise<boolean> {
    const kept = await keep(batch);
    const isPublished = await messages.publish('revoked', batch.map(toWire));
    batch.forEach((entry, index) => {
      const isTold = isPublished && kept[index] !== 'failed';
      if (isTold && unshared.get(idOf(entry)) === entry) unshared.delete(idOf(entry));
    });
    return isPublished && !kept.includes('failed');
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
    for (const told of waiting.splice(0)) told();
  }

  function waitForStore(): void {
    onFailed();
    if (isUnsharedLogged) return;
    isUnsharedLogged = true;
    logger.warn({}, 'other replicas could not be told of a revocation; it waits for the shared cache');
  }

  function tellSoon(): void {
    telling ??= tellAll().finally(() => {
      telling = undefined;
    });
  }

  return {
    tell(entry) {
      const id = idOf(entry);
      unshared.delete(id);
      unshared.set(id, entry);
      if (unshared.size > MAX_UNSHARED) unshared.delete(unshared.keys().next().value as string);
      tellSoon();
    },
    retry() {
      if (unshared.size > 0) tellSoon();
    },
    async settled() {
      await telling;
      return unshared.size === 0;
    },
    async allTold() {
      if (unshared.size > 0) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    get unshared() {
      return unshared.size;
    },
  };
}
