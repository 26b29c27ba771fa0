import { openSync, writeSync } from 'node:fs';
import { errorCode } from '../errors.ts';
import { textLines } from '../observability/log-text.ts';
import type { LogDestination } from '../observability/logger.ts';
import { UsageError } from './command.ts';
import { showsColour } from './print-problems.ts';

/**
 * The log of `exec`: text on standard error, or JSON lines in a file. Standard output belongs to the command. Each line is written at
 * once, because standard error also belongs to the command.
 */
export function execLog(file: string | undefined): LogDestination {
  if (file !== undefined) return { write: writer(openLog(file)) };
  const toText = textLines(showsColour(process.stderr));
  const write = writer(process.stderr.fd);
  return { write: (line) => write(`cambist: ${toText(line)}`) };
}

function openLog(file: string): number {
  try {
    return openSync(file, 'a', 0o600);
  } catch (error) {
    throw new UsageError(`--log: cannot write "${file}" (${errorCode(error)})`);
  }
}

/** A lost line must not end the command. */
function writer(fd: number): (text: string) => void {
  return (text) => {
    try {
      writeSync(fd, text);
    } catch {
      // The reader has left, or is slow.
    }
  };
}
