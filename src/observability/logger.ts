import { constants, openSync } from 'node:fs';
import { type DestinationStream, pino } from 'pino';
import type { LogLevel } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import type { LogFields } from './log-fields.ts';
import { createLogOutput, type LogOutput, type LossLine } from './log-output.ts';
import { textLines } from './log-text.ts';

/** Writes a line: what happened, and the fields that say it to a machine. */
interface WriteLine {
  (fields: LogFields, message: string): void;
  (message: string): void;
}

/** Lines with fields; `config/log.md` has the table of them. */
export interface Logger extends Record<'fatal' | 'error' | 'warn' | 'info' | 'debug', WriteLine> {
  level: string;
  isLevelEnabled(level: LogLevel): boolean;
  /** @returns how many lines, since the start, standard output did not take */
  linesLost(): number;
  /**
   * Writes a line whose fields are JSON already, for what is written so often that making JSON of an object costs too much.
   * @param fields one at least, as in `"route":"github","status":200`; all of them are in `LOG_FIELDS`
   */
  writeJson(level: 'error' | 'warn' | 'info', fields: string, message: string): void;
}

/**
 * A duration as `writeJson` takes it; microseconds are enough for a log. Of integers, since V8 takes five times as long over the
 * digits of a fraction.
 */
export function milliseconds(ms: number): string {
  const micros = Math.round(ms * 1000);
  const fraction = micros % 1000;
  return `${(micros - fraction) / 1000}.${String(fraction).padStart(3, '0')}`;
}

/** Long enough for any sentence of an error, too short for a document that was taken for one. */
const MAX_TEXT_LENGTH = 300;

/** Runs of token characters, percent-encoded ones too, longer than any word of prose: a JWT, an opaque token, a secret, a digest. */
const TOKEN_LIKE = /(?:[A-Za-z0-9_~+/=-]|%[0-9A-Fa-f]{2}){20,}(?:\.(?:[A-Za-z0-9_~+/=-]|%[0-9A-Fa-f]{2})+)*/g;

/** Words of OAuth that are as long as a token. */
const LONG_WORDS: ReadonlySet<string> = new Set([
  'client_assertion_type',
  'interaction_required',
  'requested_token_type',
  'temporarily_unavailable',
  'unsupported_grant_type',
]);

/** Cuts a text from outside to a length, drops control characters and blanks whatever could be a token. */
export function redact(text: string): string {
  const printable = text.slice(0, 4 * MAX_TEXT_LENGTH).replace(/[^\x20-\x7e]+/g, ' ');
  const blanked = printable.replace(TOKEN_LIKE, (run) => (LONG_WORDS.has(run) ? run : '[redacted]'));
  return blanked.length > MAX_TEXT_LENGTH ? `${blanked.slice(0, MAX_TEXT_LENGTH)}…` : blanked;
}

interface LoggedError {
  code: string | undefined;
  message: string;
  cause?: LoggedError;
}

/** How deep a chain of causes is followed. */
const MAX_CAUSES = 4;

/**
 * An error as it goes into the log: code, message and causes, no other property, since errors of libraries carry requests
 * and bodies. A CambistError's own message is ours and stays whole; every other is redacted.
 */
export function loggedError(error: unknown, depth = 0): LoggedError {
  if (!(error instanceof Error)) return { code: undefined, message: redact(String(error)) };
  const ours = error instanceof CambistError;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.name;
  const logged: LoggedError = { code, message: ours ? error.message : redact(error.message) };
  if (error.cause !== undefined && depth < MAX_CAUSES) logged.cause = loggedError(error.cause, depth + 1);
  return logged;
}

/** A write for every line would cost a busy proxy more than the line itself. */
const BATCH_LENGTH = 8 * 1024;
/** A person does not wait for a batch. */
const EACH_LINE = 1;

/** Where lines go, each with its line end. */
export type LogDestination = DestinationStream & Partial<Pick<LogOutput, 'linesLost'>>;

/** JSON lines on standard output, in batches; what is left is written when the process ends, and with a fatal line. */
export function jsonLog(): LogDestination {
  return standardOutput(BATCH_LENGTH, lossLine);
}

/** Lines for a person on standard output, each at once. */
export function textLog(colour: boolean): LogDestination {
  const toText = textLines(colour);
  const output = standardOutput(EACH_LINE, (count, fault) => toText(lossLine(count, fault)));
  return { ...output, write: (line) => output.write(toText(line)) };
}

function standardOutput(batchLength: number, toLossLine: LossLine): LogOutput {
  const output = createLogOutput(openUnblocked(), batchLength, toLossLine);
  process.on('exit', output.flushSync);
  return output;
}

/** An error, whatever else passes by itself: what a line said is gone. */
function lossLine(count: number, fault: unknown): string {
  const err = fault === undefined ? '' : `,"err":${JSON.stringify(loggedError(fault))}`;
  return `{"level":"error"${isoTime()},"lines_lost":${count}${err},"msg":"lines of the log are lost here"}\n`;
}

/**
 * Standard output as one that does not block. `process.stdout` makes a pipe so, by being asked for. A terminal blocks where
 * somebody has stopped it (Ctrl-S) or does not read it, and all who share it rely on that: it is opened once more, for the log
 * alone.
 */
function openUnblocked(): number {
  const { fd, isTTY } = process.stdout;
  if (!isTTY) return fd;
  try {
    return openSync(`/dev/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    // That of another user, or of Windows: there requests wait for it while it is stopped.
    return fd;
  }
}

let known = { second: 0, text: '' };

/** The time of now as pino's `isoTime` has it, of which all but the last digits are made once a second. */
function isoTime(): string {
  const nowMs = Date.now();
  const ms = nowMs % 1000;
  const second = nowMs - ms;
  if (second !== known.second) known = { second, text: new Date(second).toISOString().slice(0, -'000Z'.length) };
  return `,"time":"${known.text}${String(ms).padStart(3, '0')}Z"`;
}

/** The process's logger. @param destination where lines go; tests give a stream of their own */
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
    writeJson(of: LogLevel, fields: string, message: string) {
      if (!logger.isLevelEnabled(of)) return;
      destination.write(`{"level":"${of}"${isoTime()},${fields},"msg":"${message}"}\n`);
    },
  });
}
