import type { Logger } from '../observability/logger.ts';
import type { SharedMessages } from '../shared-cache/messages.ts';
import { inTime } from '../shared-cache/time-limit.ts';
import type { RevocationEntry } from '../tokens/revocation-list.ts';
import { MAX_REVOCATIONS } from '../tokens/revocations.ts';
import { batchesOf, idOf, type KeepBatch, toWire } from './replica-wire.ts';

/** Do the other replicas know everything that was told before? False may become true later. */
export type IsTold = () => boolean;

/** Tells the other replicas of the revocations of this one. */
export interface Teller {
  tell(entry: RevocationEntry): void;
  /** Tells the revocations that wait for the shared cache. */
  retry(): void;
  /** Settles once the shared cache has everything that was told before this call, or does not take it soon. Never rejects. */
  settled(): Promise<IsTold>;
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

/**
 * A replica may have to tell its whole list at once, with one entry for each issuer besides. Only with more than that are the
 * oldest not told.
 */
const MAX_UNSHARED = 2 * MAX_REVOCATIONS;
/** A slow server may take an hour for a long list. Meanwhile, signals of transmitters are applied but not acknowledged. */
const SETTLE_MS = 5000;

export function createTeller({ messages, keep, logger, onFailed }: TellerOptions): Teller {
  const unshared = new Map<string, RevocationEntry>();
  let isUnsharedLogged = false;
  let isTelling = false;
  /** Called by the pass that begins next, at its end. */
  const settling = new Set<() => void>();
  /** Calls of `settled`, and the last one before a pass that told everything. */
  let [calls, toldCalls] = [0, 0];
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

  /** Tells the entries that are unshared now. Later ones are left, so that no caller waits while others keep adding some. */
  async function tellPass(): Promise<boolean> {
    for (const batch of batchesOf([...unshared.values()])) {
      if (!(await tellBatch(batch))) return false;
    }
    return true;
  }

  async function tellAll(): Promise<void> {
    isTelling = true;
    // One revocation adds up to two entries.
    await Promise.resolve();
    let isTold = true;
    while (isTold && unshared.size > 0) {
      const callers = [...settling];
      settling.clear();
      const before = calls;
      isTold = await tellPass();
      if (isTold) toldCalls = before;
      for (const settle of callers) settle();
    }
    // Before a caller continues, because what it adds must be told as well.
    isTelling = false;
    for (const settle of settling) settle();
    settling.clear();
    if (isTold) nothingWaits();
    else waitForStore();
  }

  async function endOfNextPass(): Promise<void> {
    let settle = (): void => {};
    const ended = new Promise<void>((resolve) => {
      settle = resolve;
    });
    settling.add(settle);
    await inTime(ended, SETTLE_MS).catch(() => {});
    // A pass may begin much later, and signals may arrive until then.
    settling.delete(settle);
  }

  function nothingWaits(): void {
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
    if (!isTelling) void tellAll();
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
      calls += 1;
      const call = calls;
      if (unshared.size > 0 && isTelling) await endOfNextPass();
      return () => unshared.size === 0 || toldCalls >= call;
    },
    async allTold() {
      if (unshared.size > 0) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    get unshared() {
      return unshared.size;
    },
  };
}
