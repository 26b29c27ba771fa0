import { writeSync } from 'node:fs';
import { type DestinationStream, pino } from 'pino';
import type { LogLevel } from './config/config.ts';
import { CambistError } from './errors.ts';
import type { LogFields } from './telemetry/log-fields.ts';
import { textLines } from './telemetry/log-text.ts';

/** Writes a line: what happened, and the fields that say it to a machine. */
interface WriteLine {
  (fields: LogFields, message: string): void;
  (message: string): void;
}

/** Lines with fields; `config/README.md` has the table of them. */
export interface Logger extends Record<'fatal' | 'error' | 'warn' | 'info' | 'debug', WriteLine> {
  level: string;
  isLevelEnabled(level: LogLevel): boolean;
  /** @param done is called when all lines so far are written, or cannot be */
  flush(done: () => void): void;
  /**
   * Writes a line whose fields are JSON already, for what is written so often that making JSON of an object costs too much.
   * @param fields one at least, as in `"route":"github","status":200`; all of them are in `LOG_FIELDS`
   */
  writeJson(level: 'error' | 'warn' | 'info', fields: string, message: string): void;
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

/** A line is written alone where there are few, and waits for others at most this long. */
const LATEST_WRITE_MS = 250;
/** A write for every line would cost a busy proxy more than the line itself. */
const BATCH_LENGTH = 8 * 1024;
/** Where nobody reads standard output, lines are dropped beyond this, and memory does not grow. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** JSON lines on standard output, in batches; what is left is written when the process ends, and with a fatal line. */
export function jsonLog(): DestinationStream {
  const output = pino.destination({
    dest: STANDARD_OUTPUT,
    sync: false,
    // A rest that is flushed at the end must not be on its way already: the process would not wait for it.
    minLength: BATCH_LENGTH,
    periodicFlush: LATEST_WRITE_MS,
    maxLength: MAX_WAITING_BYTES,
  });
  const write = output.write.bind(output);
  const flush = output.flush.bind(output);
  const flushSync = output.flushSync.bind(output);
  // The batch is made here: the library counts the bytes of all that waits anew for each line.
  let waiting = '';
  const passOn = (): boolean => {
    const lines = waiting;
    waiting = '';
    return lines === '' || write(lines);
  };
  output.write = (line) => {
    waiting += line;
    return waiting.length < BATCH_LENGTH || passOn();
  };
  output.flush = (done) => {
    passOn();
    flush(done);
  };
  output.flushSync = () => {
    passOn();
    if (canBeWritten(STANDARD_OUTPUT)) flushSync();
  };
  // A terminal that was closed must not take the program with it, and the library would try for ever to write the rest.
  output.on('error', () => Object.assign(output, SILENT));
  return output;
}

function canBeWritten(fd: number): boolean {
  try {
    writeSync(fd, '');
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EAGAIN';
  }
}

const STANDARD_OUTPUT = 1;

/** What becomes of a destination that can no longer be written to. */
const SILENT = {
  write: () => true,
  flush: (done?: () => void) => done?.(),
  flushSync: () => {},
  end: () => {},
};

/** Lines for a person, each at once. */
export function textLog(output: { write(text: string): unknown }, colour: boolean): DestinationStream {
  const toText = textLines(colour);
  return { write: (line) => void output.write(toText(line)) };
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
export function createLogger(level: LogLevel, destination: DestinationStream = jsonLog()): Logger {
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
    writeJson(of: LogLevel, fields: string, message: string) {
      if (!logger.isLevelEnabled(of)) return;
      destination.write(`{"level":"${of}"${isoTime()},${fields},"msg":"${message}"}\n`);
    },
  });
}

/**
 * Settles when all lines are written, or cannot be: a program waits for it before it ends, since what is left then is written
 * by a library that tries for ever where nobody reads the pipe.
 */
export function allWritten(logger: Logger): Promise<void> {
  return new Promise((resolve) => logger.flush(resolve));
}
