import { writeSync } from 'node:fs';

/** Takes the lines of a log to a file descriptor. */
export interface LogOutput {
  /** @param lines whole ones */
  write(lines: string): void;
  /** @param done is called when all so far is written, or cannot be */
  flush(done: () => void): void;
  /** Writes what waits before it returns, or gives it up where that takes longer than a second: for a process that ends. */
  flushSync(): void;
}

/** A line is written alone where there are few, and waits for others at most this long. */
const LATEST_WRITE_MS = 250;
/** Where nobody reads, lines are dropped beyond this, and memory does not grow. */
const MAX_WAITING_LENGTH = 16 * 1024 * 1024;
/** What waits behind a slow reader goes in writes of this size, which is what a pipe holds. */
const MAX_WRITE_LENGTH = 64 * 1024;
/** Until a reader that is slow is given more. */
const BUSY_PAUSE_MS = 10;
/** How long the end of a process waits for a reader. */
const LAST_WRITE_MS = 1000;

/**
 * In batches, since a write for every line would cost a busy proxy more than the line itself. Where it cannot be written to any
 * more, as a pipe that nobody reads or a terminal that was closed, lines are dropped, and nobody waits for them. Each write is
 * done when it returns: one under way elsewhere, when the process ends, would come after the last lines, or be torn by them.
 * @param fd one that does not block, where it could
 * @param batchLength in characters; 1 writes each line at once
 */
export function createLogOutput(fd: number, batchLength: number): LogOutput {
  /** Of the next batch. */
  let lines = '';
  const batches: string[] = [];
  /** Of a batch that was written in part. */
  let rest: Buffer | undefined;
  let waitingLength = 0;
  let isBroken = false;
  let timer: NodeJS.Timeout | undefined;
  /** While the reader takes no more. */
  let pause: NodeJS.Timeout | undefined;
  let whenWritten: (() => void)[] = [];

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
    rest = Buffer.from(batch);
    return rest;
  }

  /** @returns false where the reader takes no more for now */
  function writeWaiting(): boolean {
    for (let chunk = next(); chunk !== undefined; chunk = next()) {
      try {
        const bytes = writeSync(fd, chunk);
        rest = bytes < chunk.length ? chunk.subarray(bytes) : undefined;
      } catch (error) {
        if (isBusy(error)) return false;
        giveUp();
      }
    }
    return true;
  }

  function writeOn(): void {
    if (pause !== undefined) return;
    if (writeWaiting()) {
      settle();
      return;
    }
    pause = setTimeout(() => {
      pause = undefined;
      writeOn();
    }, BUSY_PAUSE_MS).unref();
  }

  function giveUp(): void {
    isBroken = true;
    closeBatch();
    batches.length = 0;
    rest = undefined;
    settle();
  }

  function settle(): void {
    const settled = whenWritten;
    whenWritten = [];
    for (const done of settled) done();
  }

  return {
    write(text) {
      if (isBroken || waitingLength > MAX_WAITING_LENGTH) return;
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
    flush(done) {
      whenWritten.push(done);
      closeBatch();
      writeOn();
    },
    flushSync() {
      closeBatch();
      const untilMs = performance.now() + LAST_WRITE_MS;
      while (!writeWaiting()) {
        if (performance.now() > untilMs) giveUp();
        else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_PAUSE_MS);
      }
    },
  };
}

/** Its reader is there, and slow. */
function isBusy(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EAGAIN';
}
