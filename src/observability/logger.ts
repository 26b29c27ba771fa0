import { constants, openSync } from 'node:fs';
import { type DestinationStream, pino } from 'pino';
import type { LogLevel } from '../config/config.ts';
import type { LogFields } from './log-fields.ts';
import { isoTime, logLine } from './log-line.ts';
import { createLogOutput, type LogOutput, type LossLine } from './log-output.ts';
import { textLines } from './log-text.ts';
import { loggedError } from './logged-error.ts';

interface WriteLine {
  (fields: LogFields, message: string): void;
  (message: string): void;
}

/** The log. `config/log.md` has a table of the fields. */
export interface Logger extends Record<'fatal' | 'error' | 'warn' | 'info' | 'debug', WriteLine> {
  level: string;
  isLevelEnabled(level: LogLevel): boolean;
  linesLost(): number;
  /**
   * Writes complete lines that are not of the log, to the same place.
   * @returns false where it is slow and does not accept them now
   * @throws {Error} where nothing can be written
   */
  offer(lines: string): boolean;
  /** Writes a line of `log-line.ts`, at half the cost of the method of its level. The caller has checked the level. */
  writeLine(line: string): void;
}

/** Characters in a batch of lines. Half of what a pipe holds, so that a reader that keeps up gets each batch in one write. */
const BATCH_LENGTH = 32 * 1024;
/** A person reads each line as it is written. */
const EACH_LINE = 1;

/** The destination of log lines, which end in a line feed. */
export type LogDestination = DestinationStream & Partial<Pick<LogOutput, 'linesLost' | 'offer'>>;

/** JSON lines on standard output, in batches. The rest is written with a fatal line, and when the process exits. */
export function jsonLog(): LogDestination {
  return standardOutput(BATCH_LENGTH, lossLine);
}

/** Text for people on standard output, without batches. */
export function textLog(colour: boolean): LogDestination {
  const toText = textLines(colour);
  const output = standardOutput(EACH_LINE, (count, fault) => toText(lossLine(count, fault)));
  return { ...output, write: (line) => output.write(toText(line)) };
}

function standardOutput(batchLength: number, toLossLine: LossLine): LogOutput {
  const output = createLogOutput(openNonBlocking(), batchLength, toLossLine);
  process.on('exit', output.flushSync);
  return output;
}

/** Logged as an error, because the lost lines cannot be recovered. */
export function lossLine(count: number, fault: unknown): string {
  return logLine('error', { lines_lost: count, err: fault }, 'log lines lost here');
}

/**
 * Returns a non-blocking descriptor of standard output. `process.stdout` makes a pipe non-blocking when it is first used. A
 * terminal blocks while it is paused (Ctrl-S), and other programs on it rely on that. It is therefore opened again for the log.
 */
function openNonBlocking(): number {
  const { fd, isTTY } = process.stdout;
  if (!isTTY) return fd;
  try {
    return openSync(`/dev/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    // The terminal of another user, or Windows. A paused terminal then delays requests.
    return fd;
  }
}

/** Creates the logger of the process. @param destination standard output, or a stream of a test */
export function createLogger(level: LogLevel, destination: LogDestination = jsonLog()): Logger {
  const logger = pino(
    {
      level,
      base: null,
      timestamp: isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: (error: unknown) => loggedError(error) },
    },
    destination,
  );
  return Object.assign(logger, {
    linesLost: () => destination.linesLost?.() ?? 0,
    offer(lines: string) {
      if (destination.offer !== undefined) return destination.offer(lines);
      destination.write(lines);
      return true;
    },
    writeLine: (line: string) => destination.write(line),
  });
}
