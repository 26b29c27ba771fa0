import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import { errorCode } from '../errors.ts';

export type LogOutput = ReturnType<typeof createLogOutput>;

/**
 * Returns the line to write in place of dropped lines.
 * @param fault the error that prevented writing; undefined if the reader was slow
 */
export type LossLine = (count: number, fault: unknown) => string;

/** Longest time that a line waits for others. */
const BATCH_INTERVAL_MS = 250;
/** Bound of the pending lines, in characters. Further lines are dropped. */
const MAX_PENDING_LENGTH = 16 * 1024 * 1024;
/** Largest write of pending lines. A pipe holds no more. */
const MAX_WRITE_LENGTH = 64 * 1024;
const SLOW_READER_DELAY_MS = 10;
/** Delay after a write error. A full disk stays full for longer, and a file system may search for space at each write. */
const FAULT_DELAY_MS = 500;
/** Longest wait for a reader or for disk space at the end of the process. */
const FLUSH_TIMEOUT_MS = 1000;

/**
 * Writes in batches, because a write for every line would cost a busy proxy more than the line itself. Lines for a slow reader
 * or a full disk stay pending without delaying requests. Lines for a closed pipe or terminal are dropped. Writes are synchronous:
 * one in flight at the end of the process could be torn, or come after the last lines.
 * @param fd a descriptor that does not block
 * @param batchLength in characters; 1 writes each line at once
 */
export function createLogOutput(fd: number, batchLength: number, lossLine: LossLine) {
  /** Read at once, because a closed terminal is not recognized as one. */
  const isTerminal = isatty(fd);
  let lines = '';
  const batches: string[] = [];
  let rest: Buffer | undefined;
  let pendingLength = 0;
  let isBroken = false;
  let timer: NodeJS.Timeout | undefined;
  let retry: NodeJS.Timeout | undefined;
  let lost = 0;
  let reportedLost = 0;
  /** Error of the last write. Undefined if the reader was slow. */
  let fault: unknown;

  function closeBatch(): void {
    clearTimeout(timer);
    timer = undefined;
    const last = batches.at(-1);
    if (last !== undefined && last.length + lines.length <= MAX_WRITE_LENGTH)
      batches[batches.length - 1] = last + lines;
    else if (lines !== '') batches.push(lines);
    lines = '';
  }

  function next(): Buffer | undefined {
    if (rest !== undefined) return rest;
    const batch = batches.shift();
    if (batch === undefined) return undefined;
    pendingLength -= batch.length;
    if (lost > reportedLost && pendingLength <= MAX_PENDING_LENGTH) reportLoss();
    rest = Buffer.from(batch);
    return rest;
  }

  /** Puts the report at the gap, before the lines that follow it. */
  function reportLoss(): void {
    const line = lossLine(lost - reportedLost, fault);
    reportedLost = lost;
    lines += line;
    pendingLength += line.length;
    closeBatch();
  }

  /** @returns the delay before the next attempt in milliseconds; 0 if no lines are pending */
  function writePending(): number {
    for (let chunk = next(); chunk !== undefined; chunk = next()) {
      try {
        const bytes = writeSync(fd, chunk);
        rest = bytes < chunk.length ? chunk.subarray(bytes) : undefined;
      } catch (error) {
        const code = errorCode(error);
        if (code === 'EAGAIN') return SLOW_READER_DELAY_MS;
        if (code !== 'EPIPE' && !(code === 'EIO' && isTerminal)) {
          fault = error;
          return FAULT_DELAY_MS;
        }
        giveUp();
      }
    }
    fault = undefined;
    return 0;
  }

  function writeOrRetry(): void {
    if (retry !== undefined) return;
    const delayMs = writePending();
    if (delayMs === 0) return;
    retry = setTimeout(() => {
      retry = undefined;
      writeOrRetry();
    }, delayMs).unref();
  }

  function giveUp(): void {
    isBroken = true;
    closeBatch();
    for (const text of [rest?.toString('latin1') ?? '', ...batches]) lost += countLines(text);
    batches.length = 0;
    rest = undefined;
  }

  return {
    write(text: string): void {
      if (isBroken || pendingLength > MAX_PENDING_LENGTH) {
        lost += countLines(text);
        return;
      }
      lines += text;
      pendingLength += text.length;
      if (lines.length >= batchLength) {
        closeBatch();
        writeOrRetry();
      } else {
        timer ??= setTimeout(() => {
          closeBatch();
          writeOrRetry();
        }, BATCH_INTERVAL_MS).unref();
      }
    },
    /**
     * Writes complete lines at once, after those of the log.
     * @returns false where the reader is slow. They are then not accepted, and the caller may offer them again
     * @throws {Error} where nothing can be written
     */
    offer(text: string): boolean {
      closeBatch();
      writeOrRetry();
      if (isBroken) throw new Error('the reader of standard output is gone');
      if (fault !== undefined) throw fault;
      if (pendingLength > 0 || rest !== undefined) return false;
      lines += text;
      pendingLength += text.length;
      closeBatch();
      writeOrRetry();
      return true;
    },
    /** Writes the pending lines before it returns, for the end of a process. Drops them after a second. */
    flushSync(): void {
      closeBatch();
      const untilMs = performance.now() + FLUSH_TIMEOUT_MS;
      for (let delayMs = writePending(); delayMs > 0; delayMs = writePending()) {
        const leftMs = untilMs - performance.now();
        if (leftMs <= 0) giveUp();
        else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Math.min(delayMs, leftMs));
      }
    },
    linesLost: () => lost,
  };
}

/** Counts line ends. A line that was written in part counts as lost. */
function countLines(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count += 1;
  return count;
}
