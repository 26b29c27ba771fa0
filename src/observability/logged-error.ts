import { CambistError, errorCode } from '../errors.ts';
import { shortened } from './shortened.ts';

/** Longest text from outside. Any sentence of an error fits, and a whole document does not. */
const MAX_TEXT_LENGTH = 300;

/** Runs of token characters that are longer than any word: a JWT, an opaque token, a secret or a digest, percent-encoded or not. */
const TOKEN_LIKE = /(?:[A-Za-z0-9_~+/=-]|%[0-9A-Fa-f]{2}){20,}(?:\.(?:[A-Za-z0-9_~+/=-]|%[0-9A-Fa-f]{2})+)*/g;

const EMAIL = /[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+/g;

/** Words of OAuth that are as long as a token. */
const LONG_WORDS: ReadonlySet<string> = new Set([
  'client_assertion_type',
  'federated_connection_refresh_token_not_found',
  'insufficient_user_authentication',
  'interaction_required',
  'requested_token_type',
  'temporarily_unavailable',
  'unsupported_grant_type',
]);

/** Shortens a text from outside, replaces control characters, and hides e-mail addresses and everything that could be a token. */
export function redact(text: string): string {
  const printable = text.slice(0, 4 * MAX_TEXT_LENGTH).replace(/[^\x20-\x7e]+/g, ' ');
  const anonymous = printable.replace(EMAIL, '[redacted]');
  const hidden = anonymous.replace(TOKEN_LIKE, (run) => (LONG_WORDS.has(run) ? run : '[redacted]'));
  return hidden.length > MAX_TEXT_LENGTH ? `${shortened(hidden, MAX_TEXT_LENGTH)}…` : hidden;
}

interface LoggedError {
  code: string | undefined;
  message: string;
  cause?: LoggedError;
}

const MAX_CAUSES = 4;

/**
 * An error as the log shows it: code, message and causes. Other properties are left out, because errors of libraries contain
 * requests and response bodies. The message of a CambistError is ours and unchanged; any other message is redacted.
 */
export function loggedError(error: unknown, depth = 0): LoggedError {
  if (!(error instanceof Error)) return { code: undefined, message: redact(String(error)) };
  const isOurs = error instanceof CambistError;
  const code = errorCode(error) ?? error.name;
  const logged: LoggedError = { code, message: isOurs ? error.message : redact(error.message) };
  if (error.cause !== undefined && depth < MAX_CAUSES) logged.cause = loggedError(error.cause, depth + 1);
  return logged;
}
