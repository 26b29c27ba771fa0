import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino';
import type { LogLevel } from './config/config.ts';
import { CambistError } from './errors.ts';

/** JSON lines; see "Log" in `README.md` for the fields. */
export type Logger = PinoLogger;

/** Long enough for any sentence of an error, too short for a document that was taken for one. */
const MAX_TEXT_LENGTH = 300;

/** Runs of token characters, percent-encoded ones too, longer than any word of prose: a JWT, an opaque token, a secret, a digest. */
const TOKEN_LIKE = /(?:[A-Za-z0-9_~+/=-]|%[0-9A-Fa-f]{2}){20,}(?:\.(?:[A-Za-z0-9_~+/=-]|%[0-9A-Fa-f]{2})+)*/g;

/** Cuts a text from outside to a length, drops control characters and blanks whatever could be a token. */
export function redact(text: string): string {
  const printable = text.slice(0, 4 * MAX_TEXT_LENGTH).replace(/[^\x20-\x7e]+/g, ' ');
  const blanked = printable.replace(TOKEN_LIKE, '[redacted]');
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

/**
 * The process's logger. Lines are written in batches off the path of a request; `flush()` it before the process ends.
 * @param destination where lines go; tests give a stream of their own, the program writes to standard output
 */
export function createLogger(level: LogLevel, destination?: DestinationStream): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: (error: unknown) => loggedError(error) },
    },
    destination ?? pino.destination({ dest: 1, sync: false }),
  );
}
