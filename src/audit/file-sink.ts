import { closeSync, constants, fstatSync, openSync, statSync, writeSync } from 'node:fs';
import type { RecordSink } from './sink.ts';

/** The folder decides who reads the file beyond its owner and group. */
const FILE_MODE = 0o640;
/** Without O_NONBLOCK, opening a named pipe blocks the process until a reader comes. Windows has no such flag. */
const OPEN_FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | (constants.O_NONBLOCK ?? 0);
/** How often the path is checked for another file. */
const CHECK_INTERVAL_MS = 1000;

/**
 * Appends to a file that another program may rotate: it opens the path again after `reopen`, and when the path
 * names another file or no file. Truncation works as well, because every write goes to the end of the file. Writes are synchronous: one in flight
 * when the process is killed would be lost.
 *
 * An operator who deletes or truncates the file on a full disk deletes the beginning of a record that was written in part. The sink
 * gives up its rest: it would be a broken line in the next file, and while it waits, the deleted file keeps the disk full.
 */
export function createFileSink(path: string): RecordSink {
  let fd: number | undefined;
  let checkAtMs = 0;
  /** A record that was written in part is completed in the same file. */
  let isMidRecord = false;

  function close(): void {
    if (fd !== undefined) closeSync(fd);
    fd = undefined;
  }

  function current(): number {
    const nowMs = performance.now();
    if (fd !== undefined && !isMidRecord && nowMs >= checkAtMs) {
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
      if (isMidRecord && fd !== undefined && isEmptied(fd)) {
        isMidRecord = false;
        checkAtMs = 0;
        return lines.indexOf('\n') + 1;
      }
      const file = current();
      let written = 0;
      try {
        written = writeSync(file, lines);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
      isMidRecord = written < lines.length && (isMidRecord || written > 0);
      return written;
    },
    reopen() {
      checkAtMs = 0;
      if (!isMidRecord) close();
    },
    async close() {
      close();
    },
  };
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
