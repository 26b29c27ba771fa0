import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';
import type { HttpResponse } from '../tokens/bounded-request.ts';
import { readRetryAfter } from '../tokens/bounded-request.ts';

/** Why a transmitter does not work. */
export type TransmitterProblem =
  | 'unreachable'
  | 'unauthorized'
  | 'credential'
  | 'stream'
  | 'response'
  | 'keys'
  /** A defect of cambist. */
  | 'internal';

/** How to fix each problem. */
export const FIXES: Readonly<Record<TransmitterProblem, string>> = {
  unreachable: 'start the transmitter, and check network policies and its address between here and there',
  unauthorized: 'check authorization, or authorization_server and scope, of the transmitter in signals.transmitters',
  credential: 'mount the file of authorization, or check the client of authorization_server',
  stream: 'create a stream for polls at the transmitter, and set poll_endpoint to its "endpoint_url"',
  response: 'check poll_endpoint, and gateways in front of the transmitter',
  keys: 'check jwks_uri, and that the keys of the issuer can be fetched from here',
  internal: 'report it, with the log line',
};

const CODES: Readonly<Partial<Record<TransmitterProblem, ErrorCode>>> = {
  internal: 'ERR_INTERNAL',
  unauthorized: 'ERR_CLIENT_REFUSED',
  credential: 'ERR_CREDENTIAL_UNAVAILABLE',
  response: 'ERR_STS_RESPONSE_INVALID',
};

/** A transmitter cannot be used. The message contains no credential. */
export class TransmitterError extends CambistError {
  readonly problem: TransmitterProblem;

  constructor(problem: TransmitterProblem, message: string, options?: { cause?: unknown; retryAfterSeconds?: number }) {
    super(CODES[problem] ?? 'ERR_STS_UNAVAILABLE', message, options);
    this.problem = problem;
  }
}

/** The error of a response whose status is not the expected one. */
export function unexpectedStatus(what: string, { status, retryAfter }: HttpResponse, wallMs: number): TransmitterError {
  const message = `${what} returned status ${status}`;
  if (status === 401 || status === 403) return new TransmitterError('unauthorized', message);
  if (status === 404 || status === 409) return new TransmitterError('stream', message);
  if (status < 500 && status !== 429 && status !== 408) return new TransmitterError('response', message);
  const retryAfterSeconds = readRetryAfter(retryAfter, wallMs);
  return new TransmitterError('unreachable', message, retryAfterSeconds === undefined ? {} : { retryAfterSeconds });
}
