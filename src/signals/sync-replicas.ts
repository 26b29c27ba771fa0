import type { Clock } from '../clock/clock.ts';
import type { Logger } from '../observability/logger.ts';
import type { Asker, Outcome } from './ask-replicas.ts';
import type { Kept, KeptReader, KnownRevocations } from './read-kept.ts';
import { createRepeatedWork } from './repeated-work.ts';

/** Learns the revocations of the other replicas: at the start, after each reconnection, and regularly. */
export interface Sync {
  /** @returns false if it must be tried again, which happens by itself. Never rejects */
  refresh(): Promise<boolean>;
  /** Messages were lost before now. */
  resubscribed(): void;
  /** Messages may have been lost since everything was read. */
  readonly isStale: boolean;
  /** Did this replica learn everything once? */
  readonly isComplete: boolean;
  /** Settles when it did. */
  readonly completed: Promise<void>;
  /** Was the server found without its data? */
  readonly wasEmpty: boolean;
  close(): void;
}

export interface SyncOptions {
  readonly reader: KeptReader;
  readonly asker: Asker;
  readonly known: () => KnownRevocations;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Issuers whose tokens can be revoked. */
  readonly issuers: readonly string[];
  readonly random: () => number;
  /** Called after each success. */
  readonly onRead: (kept: Kept) => void;
}

/** How often everything is read again. A failover at the server may have lost a message or a record without a trace. */
const REFRESH_MS = 60_000;
/** A replica rests for 50 times as long as the reading took. 80,000 revocations take 4 to 11 seconds. */
const REST_FACTOR = 50;
export const RETRY_MS = 500;
/** Replicas that start or reconnect at the same time read again within this, so that one writes what is missing, and not all. */
const WRITE_MS = 5000;
const WRITE_FACTOR = 5;

export function createSync(options: SyncOptions): Sync {
  const { reader, clock, logger, random, onRead } = options;
  let isStale = true;
  let isComplete = false;
  let wasEmpty = false;
  let complete = (): void => {};
  const completed = new Promise<void>((resolve) => {
    complete = resolve;
  });
  let readingMs = 0;
  /** Records are missing that other replicas know as well. */
  let writesSoon = false;
  let readsAgain = false;
  let isClosed = false;

  async function readOnce(): Promise<boolean> {
    const startedMs = clock.monotonicMs();
    const kept = await reader.read();
    readingMs = clock.monotonicMs() - startedMs;
    if (kept === undefined || readsAgain) return false;
    wasEmpty ||= !kept.isSeeded;
    const outcome = isStale ? await askReplicas(options, kept, isComplete) : undefined;
    if (outcome === 'failed' || readsAgain) return false;
    isStale = false;
    isComplete = true;
    complete();
    onRead(kept);
    writesSoon = outcome === 'replied' && reader.isMissing(kept);
    if (!writesSoon) await reader.keepMissing(kept);
    return true;
  }

  /** Reads again if a subscription began during the reading, because messages before it were lost. */
  async function readUntilCurrent(): Promise<boolean> {
    for (;;) {
      readsAgain = false;
      const isRead = await readOnce();
      if (!readsAgain || isClosed) return isRead;
    }
  }

  const readings = createRepeatedWork({
    work: readUntilCurrent,
    pauseMs: (isRead) => (isRead ? pauseAfter(readingMs, writesSoon, random()) : RETRY_MS),
    onError: (error) => logger.error({ err: error }, 'unexpected error; reading the kept revocations again'),
  });

  return {
    refresh: readings.run,
    resubscribed() {
      isStale = true;
      readsAgain = readings.isRunning;
      options.asker.cancel();
      void readings.run();
    },
    get isStale() {
      return isStale;
    },
    get isComplete() {
      return isComplete;
    },
    completed,
    get wasEmpty() {
      return wasEmpty;
    },
    close() {
      isClosed = true;
      readings.stop();
      options.asker.cancel();
    },
  };
}

/** A reply has what the server deleted, altered, or had no room for. Messages that follow it arrive as well. */
async function askReplicas(options: SyncOptions, { isSeeded, isFull }: Kept, isComplete: boolean): Promise<Outcome> {
  // Replicas that lost their connection with this one connect again within 3 seconds, and write what the server lost.
  const trustsAlone = !isFull && (isComplete || isSeeded);
  const outcome = await options.asker.ask({ trustsAlone, isFull });
  if (outcome === 'no_reply') options.logger.info({}, 'no running replica replied; using the kept revocations alone');
  if ((outcome === 'alone' || outcome === 'no_reply') && isFull) refuseOlder(options);
  return outcome;
}

/**
 * Revocations that found no room are unknown here, so all older tokens may be revoked. This is kept and told like any revocation,
 * because a replica that starts after the flood knows no more than this one.
 */
function refuseOlder({ known, clock, logger, issuers }: SyncOptions): void {
  const atMs = clock.wallMs();
  known().restore(issuers.map((issuer) => ({ key: '', issuer, atMs })));
  logger.error(
    {},
    'the shared cache is full of revocations; no replica replied; refusing all older tokens: lower signals.remember',
  );
}

/** @param random from 0 to 1 @returns how long to wait before the next reading */
function pauseAfter(readingMs: number, writesSoon: boolean, random: number): number {
  if (writesSoon) return Math.max(WRITE_MS, readingMs * WRITE_FACTOR) * random;
  return Math.max(REFRESH_MS, readingMs * REST_FACTOR) * (0.75 + random / 2);
}
