import { setTimeout as delay } from 'node:timers/promises';
import type { RecordSink } from './sinks.ts';

export interface QueueOptions {
  /** Never drops a record while it is open. The caller then has to send none while the queue is blocked. */
  readonly keepsAll: boolean;
  readonly lossLine: (count: number) => string;
  /** The destination began to fail, or works again. */
  readonly onFault: (error: unknown) => void;
  readonly onRecovered: () => void;
}

interface Batch {
  /** The part that the destination has not taken. */
  rest: Buffer;
  readonly count: number;
  /** In characters. */
  readonly length: number;
}

/** Bound of the records that wait, in characters. Further records are dropped, unless all are kept. */
export const MAX_PENDING_LENGTH = 16 * 1024 * 1024;
/** With more than this waiting, the destination counts as too slow. */
const BLOCKED_LENGTH = 1024 * 1024;
/** Largest write. A pipe holds no more. */
const MAX_SEND_LENGTH = 64 * 1024;
const SLOW_DELAY_MS = 10;
const FAULT_DELAY_MS = 500;

/**
 * Sends records in the order in which they came. Those that come while others are sent wait, and then go together. A record that the
 * destination has not taken is sent again.
 */
export function createRecordQueue(sink: RecordSink, options: QueueOptions) {
  let lines: string[] = [];
  let pendingLength = 0;
  let sending: Batch | undefined;
  let written = 0;
  let dropped = 0;
  /** Dropped records that no line stands for yet. */
  let unreported = 0;
  let isSending = false;
  let hasFault = false;
  let isClosed = false;

  /** A destination that takes records without waiting gets them at once, so that not even SIGKILL loses one. */
  async function drain(): Promise<void> {
    if (isSending) return;
    isSending = true;
    for (let batch = next(); batch !== undefined && !isClosed; batch = next()) {
      const sent = send(batch);
      const delayMs = sent instanceof Promise ? await sent : sent;
      if (delayMs > 0) await delay(delayMs, undefined, { ref: false });
    }
    isSending = false;
  }

  /** @returns the delay before the next attempt in milliseconds; 0 for none */
  function send(batch: Batch): number | Promise<number> {
    try {
      const sent = sink.send(batch.rest);
      return sent instanceof Promise ? sent.then((bytes) => taken(batch, bytes), failed) : taken(batch, sent);
    } catch (error) {
      return failed(error);
    }
  }

  function taken(batch: Batch, bytes: number): number {
    recovered();
    batch.rest = batch.rest.subarray(bytes);
    if (batch.rest.length > 0) return SLOW_DELAY_MS;
    sending = undefined;
    pendingLength -= batch.length;
    written += batch.count;
    return 0;
  }

  function failed(error: unknown): number {
    if (!hasFault) options.onFault(error);
    hasFault = true;
    return FAULT_DELAY_MS;
  }

  function recovered(): void {
    if (hasFault) options.onRecovered();
    hasFault = false;
  }

  function next(): Batch | undefined {
    if (sending !== undefined) return sending;
    if (unreported > 0 && pendingLength <= MAX_PENDING_LENGTH) {
      add(options.lossLine(unreported));
      unreported = 0;
    }
    if (lines.length === 0) return undefined;
    let length = 0;
    let count = 0;
    while (count < lines.length && length < MAX_SEND_LENGTH) {
      length += (lines[count] as string).length;
      count += 1;
    }
    const text = count === lines.length ? lines.join('') : lines.slice(0, count).join('');
    lines = count === lines.length ? [] : lines.slice(count);
    sending = { rest: Buffer.from(text), count, length };
    return sending;
  }

  function add(line: string): void {
    lines.push(line);
    pendingLength += line.length;
  }

  return {
    push(line: string): void {
      if (isClosed || (!options.keepsAll && pendingLength > MAX_PENDING_LENGTH)) {
        dropped += 1;
        unreported += 1;
        return;
      }
      add(line);
      void drain();
    },
    /** The destination fails, or is slower than the records come. */
    get isBlocked(): boolean {
      return hasFault || pendingLength > BLOCKED_LENGTH;
    },
    get written() {
      return written;
    },
    get dropped() {
      return dropped;
    },
    /** Waits until the destination has all records, for at most this time. Drops the rest. */
    async close(timeoutMs: number, hurry: AbortSignal | undefined): Promise<void> {
      const untilMs = performance.now() + timeoutMs;
      const isOver = (): boolean => performance.now() >= untilMs || hurry?.aborted === true;
      while (pendingLength > 0 && !isOver()) {
        void drain();
        await delay(SLOW_DELAY_MS);
      }
      isClosed = true;
      dropped += lines.length + (sending?.count ?? 0);
      await sink.close?.();
    },
  };
}
