import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';

/** Takes the lines of a log to a file descriptor. */
export interface LogOutput {
  /** @param lines whole ones */
  write(lines: string): void;
  /** Writes what waits before it returns, or gives it up where that takes longer than a second: for a process that ends. */
  flushSync(): void;
  /** @returns how many lines, since the start, were dropped */
  linesLost(): number;
}

/**
 * What is written where lines are missing.
 * @param count of the lines that were dropped since the last such line
 * @param fault why they could not be written; undefined where their reader was slow
 */
export type LossLine = (count: number, fault: unknown) => string;

/** A line is written alone where there are few, and waits for others at most this long. */
const LATEST_WRITE_MS = 250;
/** Where nothing can be written for now, lines are dropped beyond this, and memory does not grow. */
const MAX_WAITING_LENGTH = 16 * 1024 * 1024;
/** What waits behind a slow reader goes in writes of this size, which is what a pipe holds. */
const MAX_WRITE_LENGTH = 64 * 1024;
/** Until a reader that is slow is given more. */
const BUSY_PAUSE_MS = 10;
/** Until a fault is tried again: a full disk is full for longer, and a file system may search it for room at each write. */
const FAULT_PAUSE_MS = 500;
/** How long the end of a process waits for a reader, or for room. */
const LAST_WRITE_MS = 1000;

/**
 * In batches, since a write for every line would cost a busy proxy more than the line itself. What cannot be written for now, as
 * to a slow reader or a full disk, waits, and nobody waits for it. Where it never can be, as to a pipe that nobody reads or a
 * terminal that was closed, lines are dropped. Each write is done when it returns: one under way elsewhere, when the process
 * ends, would come after the last lines, or be torn by them.
 * @param fd one that does not block, where it could
 * @param batchLength in characters; 1 writes each line at once
 */
export function createLogOutput(fd: number, batchLength: number, lossLine: LossLine): LogOutput {
  /** A terminal that was closed is none any more. */
  const isTerminal = isatty(fd);
  /** Of the next batch. */
  let lines = '';
  const batches: string[] = [];
  /** Of a batch that was written in part. */
  let rest: Buffer | undefined;
  let waitingLength = 0;
  let isBroken = false;
  let timer: NodeJS.Timeout | undefined;
  /** While nothing can be written. */
  let pause: NodeJS.Timeout | undefined;
  let lost = 0;
  /** How many of them a line has told. */
  let toldLost = 0;
  /** Why what waits could not be written when it was last tried, where that is not its reader. */
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
    waitingLength -= batch.length;
    if (lost > toldLost && waitingLength <= MAX_WAITING_LENGTH) tellLoss();
    rest = Buffer.from(batch);
    return rest;
  }

  /** Between the lines before those that are missing and the ones after. */
  function tellLoss(): void {
    const line = lossLine(lost - toldLost, fault);
    toldLost = lost;
    lines += line;
    waitingLength += line.length;
    closeBatch();
  }

  /** @returns how many milliseconds to wait before the next attempt; 0 where nothing waits any more */
  function writeWaiting(): number {
    for (let chunk = next(); chunk !== undefined; chunk = next()) {
      try {
        const bytes = writeSync(fd, chunk);
        rest = bytes < chunk.length ? chunk.subarray(bytes) : undefined;
      } catch (error) {
        const code = codeOf(error);
        if (code === 'EAGAIN') return BUSY_PAUSE_MS;
        if (code !== 'EPIPE' && !(code === 'EIO' && isTerminal)) {
          fault = error;
          return FAULT_PAUSE_MS;
        }
        giveUp();
      }
    }
    fault = undefined;
    return 0;
  }

  function writeOn(): void {
    if (pause !== undefined) return;
    const pauseMs = writeWaiting();
    if (pauseMs === 0) return;
    pause = setTimeout(() => {
      pause = undefined;
      writeOn();
    }, pauseMs).unref();
  }

  function giveUp(): void {
    isBroken = true;
    closeBatch();
    for (const text of [rest?.toString('latin1') ?? '', ...batches]) lost += countLines(text);
    batches.length = 0;
    rest = undefined;
  }

  return {
    write(text) {
      if (isBroken || waitingLength > MAX_WAITING_LENGTH) {
        lost += countLines(text);
        return;
      }
      lines += text;
      waitingLength += text.length;
      if (lines.length >= batchLength) {
        closeBatch();
        writeOn();
      } else {
        timer ??= setTimeout(() => {
          closeBatch();
          writeOn();
        }, LATEST_WRITE_MS).unref();
      }
    },
    flushSync() {
      closeBatch();
      const untilMs = performance.now() + LAST_WRITE_MS;
      for (let pauseMs = writeWaiting(); pauseMs > 0; pauseMs = writeWaiting()) {
        const leftMs = untilMs - performance.now();
        if (leftMs <= 0) giveUp();
        else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Math.min(pauseMs, leftMs));
      }
    },
    linesLost: () => lost,
  };
}

/** By their ends: a line of which a part was written is one that was not. */
function countLines(text: string): number {
  let count = 0;
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', end + 1)) count += 1;
  return count;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
