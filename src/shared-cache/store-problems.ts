import { formatDuration } from '../config/units.ts';
import { CambistError } from '../errors.ts';

/** Why the shared cache is not used. */
export type StoreProblem = keyof typeof FIXES;

export const FIXES = {
  unreachable: 'start the server, and check the address in cache.shared and network policies between here and there',
  slow: 'check the load of the server and the network to it, or raise cache.shared.timeout',
  tls: 'check tls.ca in cache.shared, and the certificate and the name of the server',
  wrong_password: 'check username and password in cache.shared',
  no_permission: 'give the user these commands, keys and channels: see config/shared-cache.md',
  read_only: 'connect to the primary, not to a replica',
  full: 'raise maxmemory at the server, or set a maxmemory-policy that evicts',
  not_ready: 'wait until the server has loaded its data or elected a primary',
  credential:
    'provide the files and variables that cache.shared names, readable for this user, and keys of 32 characters or more',
  other: "see the server's own log",
} as const;

/** The server did not reply within the time limit. */
export class StoreTimeoutError extends Error {
  constructor(limitMs: number) {
    super(`no reply within ${formatDuration(limitMs)}`);
    this.name = 'StoreTimeoutError';
  }
}

/** Error replies of servers, by their first words. */
const REPLIES: readonly (readonly [RegExp, StoreProblem])[] = [
  [/^(?:WRONGPASS|NOAUTH)\b|invalid password|without any password configured/i, 'wrong_password'],
  [/^NOPERM\b/, 'no_permission'],
  [/^READONLY\b|can't write against a read only/i, 'read_only'],
  [/^(?:OOM|MISCONF|NOREPLICAS)\b|maxmemory/i, 'full'],
  [/^(?:LOADING|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY)\b/, 'not_ready'],
];

const TLS_CODES =
  /^(?:ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|EPROTO|INVALID_CA|ERR_OSSL)/;

export function problemOf(error: unknown): StoreProblem {
  if (error instanceof StoreTimeoutError) return 'slow';
  if (error instanceof CambistError) return 'credential';
  const { message = '', code = '', cause, errors } = Object(error) as Record<string, unknown>;
  const reply = REPLIES.find(([pattern]) => pattern.test(String(message)));
  if (reply !== undefined) return reply[1];
  if (TLS_CODES.test(String(code))) return 'tls';
  const inner = Array.isArray(errors) ? errors[0] : cause;
  if (inner !== undefined) return problemOf(inner);
  if (
    /^(?:E[A-Z]+|ENOTFOUND)$/.test(String(code)) ||
    /socket|connect|closed|timeout|available/i.test(String(message))
  ) {
    return 'unreachable';
  }
  return 'other';
}

/** Messages of the client, and two of cambist, that have no code, and contain nothing of a command. */
const CLIENT_MESSAGES: ReadonlySet<string> = new Set([
  'Socket closed unexpectedly',
  'Connection timeout',
  'The client is closed',
  'The client is offline',
  'All the root nodes are unavailable',
  'None of the sentinels are available',
  'The connection was closed',
  'The connection delivers no messages: closed',
]);

/**
 * The code of an error, for the log, or a message of a fixed form, as of a limit or a credential. Other messages may repeat a command,
 * and with it a password.
 */
export function labelOf(error: unknown): string {
  if (error instanceof StoreTimeoutError || error instanceof CambistError) return error.message;
  const { message = '', code, name = 'Error', cause, errors } = Object(error) as Record<string, unknown>;
  if (typeof code === 'string') return code;
  const inner = Array.isArray(errors) ? errors[0] : cause;
  if (inner !== undefined) return labelOf(inner);
  if (CLIENT_MESSAGES.has(String(message))) return String(message);
  const [reply] = /^[A-Z]{3,20}(?= )/.exec(String(message)) ?? [];
  return reply ?? String(name);
}

/**
 * Waits for a promise up to a time limit. The promise may still settle later, which is then ignored.
 * @param late makes the error of a limit that was exceeded
 * @throws {StoreTimeoutError} after `ms`, unless `late` makes another error
 */
export async function inTime<T>(
  promise: Promise<T>,
  ms: number,
  late: () => Error = () => new StoreTimeoutError(ms),
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(late()), ms);
  });
  promise.catch(() => {});
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}
