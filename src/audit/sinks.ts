import { closeSync, constants, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import type { RecordSink } from './sink.ts';

/** The folder decides who reads the file beyond its owner and group. */
const FILE_MODE = 0o640;
/** Without O_NONBLOCK, opening a named pipe blocks the process until a reader comes. Windows has no such flag. */
const OPEN_FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | (constants.O_NONBLOCK ?? 0);
const EMPTY = Buffer.alloc(0);
/** How often the path is checked for another file. */
const CHECK_INTERVAL_MS = 1000;

/**
 * Appends to a file that another program may rotate: it opens the path again after `reopen`, and when the path
 * names another file or no file. Truncation works as well, because every write goes to the end of the file. Writes are synchronous: one in flight
 * when the process is killed would be lost.
 *
 * A full disk may have room for a part of a record. If an operator then deletes or truncates the file, that part is written again:
 * the rest alone would be a broken line.
 */
export function createFileSink(path: string): RecordSink {
  let fd: number | undefined;
  let checkAtMs = 0;
  /** The beginning of a record whose rest was not taken. */
  let begun: Buffer = EMPTY;
  /** The part of it that is in the file, in bytes. A record is completed in the same file. */
  let present = 0;

  function close(): void {
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
  }

  function current(): number {
    const nowMs = performance.now();
    if (fd !== undefined && present === 0 && nowMs >= checkAtMs) {
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
    isSynchronous: true,
    async open() {
      current();
    },
    send(lines) {
      if (present > 0 && fd !== undefined && isEmptied(fd)) {
        present = 0;
        checkAtMs = 0;
      }
      const missing = begun.subarray(present);
      const written = write(current(), missing.length === 0 ? lines : Buffer.concat([missing, lines]));
      const taken = Math.max(0, written - missing.length);
      if (taken === lines.length) begun = EMPTY;
      else if (taken > 0) begun = lastLine(Buffer.concat([begun, lines.subarray(0, taken)]));
      present = taken > 0 ? begun.length : present + written;
      return taken;
    },
    reopen() {
      checkAtMs = 0;
      if (present === 0) close();
    },
    async close() {
      close();
    },
  };
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

/** The part after the last complete line. */
function lastLine(bytes: Buffer): Buffer {
  return bytes.subarray(bytes.lastIndexOf('\n') + 1);
}

/** Whether the file was deleted or truncated. */
function isEmptied(fd: number): boolean {
  const file = fstatSync(fd);
  return file.isFile() && (file.nlink === 0 || file.size === 0);
}

function isAt(path: string, fd: number): boolean {
  const there = statSync(path, { throwIfNoEntry: false, bigint: true });
  const open = fstatSync(fd, { bigint: true });
  return there?.ino === open.ino && there.dev === open.dev;
}
