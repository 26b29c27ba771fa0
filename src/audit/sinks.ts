import { closeSync, constants, fstatSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs';
import type { Logger } from '../observability/logger.ts';

/** The folder decides who reads the file beyond its owner and group. */
const FILE_MODE = 0o640;
/** Without O_NONBLOCK, opening a named pipe blocks the process until a reader comes. Windows has no such flag. */
const OPEN_FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | (constants.O_NONBLOCK ?? 0);
/** Interval at which the path is checked for another file. */
const CHECK_INTERVAL_MS = 1000;

/**
 * Appends to a file that another program may rotate: it opens the path again after `reopen`, and when the path names another file
 * or no file. Truncation works as well, because every write goes to the end of the file. Writes are synchronous: one in flight when
 * the process is killed would be lost.
 */
export function createFileSink(path: string) {
  let fd: number | undefined;
  let checkAtMs = 0;

  function close(): void {
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
  }

  function current(): number {
    const nowMs = performance.now();
    if (fd !== undefined && nowMs >= checkAtMs) {
      checkAtMs = nowMs + CHECK_INTERVAL_MS;
      if (!isAt(path, fd)) close();
    }
    if (fd === undefined) {
      fd = openSync(path, OPEN_FLAGS, FILE_MODE);
      checkAtMs = nowMs + CHECK_INTERVAL_MS;
    }
    return fd;
  }

  return {
    open: () => void current(),
    send(lines) {
      const file = current();
      const written = write(file, lines);
      return written === lines.length ? written : withoutPart(file, lines.subarray(0, written));
    },
    reopen: close,
    async close() {
      close();
    },
  } satisfies RecordSink;
}

/** @returns the number of bytes written: 0 for a full pipe */
function write(fd: number, bytes: Buffer): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    return 0;
  }
}

/**
 * Takes a record out of a file again that a full disk has room for a part of. If an operator then makes room by deleting the file, the
 * next one begins with a whole record.
 * @returns the number of bytes that stay
 */
function withoutPart(fd: number, written: Buffer): number {
  const file = fstatSync(fd);
  if (!file.isFile()) return written.length;
  const whole = written.lastIndexOf('\n') + 1;
  ftruncateSync(fd, Math.max(0, file.size - (written.length - whole)));
  if (whole === 0) throw Object.assign(new Error('no room for a whole record'), { code: 'ENOSPC' });
  return whole;
}

function isAt(path: string, fd: number): boolean {
  const there = statSync(path, { throwIfNoEntry: false, bigint: true });
  const open = fstatSync(fd, { bigint: true });
  return there?.ino === open.ino && there.dev === open.dev;
}

export interface RecordSink {
  /**
   * Opens the destination, so that a problem shows before the first record. Harmless where it is open.
   * @throws {Error} where it cannot be opened
   */
  open?(): void;
  /**
   * Writes complete lines.
   * @returns the number of bytes that the destination has taken. Fewer than all: it is slow, and takes the rest later
   * @throws {Error} where it took nothing more
   */
  send(lines: Buffer): number | Promise<number>;
  /** Opens the destination again before the next record, because it may have been rotated. Missing where it cannot be. */
  reopen?(): void;
  close?(): Promise<void>;
}

/**
 * Writes records to standard output, between the lines of the log. Both use one output, because two writers to a pipe would tear
 * each other's lines.
 */
export function createStdoutSink(logger: Logger): RecordSink {
  return {
    send: (lines) => (logger.offer(lines.toString()) ? lines.length : 0),
  };
}
