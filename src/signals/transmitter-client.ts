import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { Transmitter } from '../config/signals.ts';
import { formatDuration } from '../config/units.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError, type CambistErrorOptions } from '../errors.ts';
import { OF_SIGNALS } from '../observability/expected.ts';
import { readCredential } from '../secrets/credential.ts';
import {
  boundedRequest,
  type HttpResponse,
  isPassing,
  isTimeout,
  ResponseTooLargeError,
  readRetryAfter,
  toRequestUrl,
} from '../tokens/bounded-request.ts';
import type { OwnTokens } from '../tokens/own-tokens.ts';
import { isJsonObject, parseJsonObject } from '../tokens/token-text.ts';

export type TransmitterProblem = keyof typeof FIXES;

export const FIXES = {
  unreachable: 'start the transmitter, and check network policies and its address between here and there',
  unauthorized: 'check authorization, or authorization_server and scope, of the transmitter in signals.transmitters',
  credential: 'mount the file of authorization, or check the client of authorization_server',
  stream: 'create a stream for polls at the transmitter, and set poll_endpoint to its "endpoint_url"',
  response: 'check poll_endpoint, and gateways in front of the transmitter',
  keys: 'check jwks_uri, and that the keys of the issuer can be fetched from here',
  /** A defect of cambist. */
  internal: 'report it, with the log line',
} as const;

const CODES: Readonly<Partial<Record<TransmitterProblem, ErrorCode>>> = {
  internal: 'ERR_INTERNAL',
  unauthorized: 'ERR_CLIENT_REFUSED',
  credential: 'ERR_CREDENTIAL_UNAVAILABLE',
  response: 'ERR_STS_RESPONSE_INVALID',
};

/** A transmitter cannot be used. The message contains no credential. */
export class TransmitterError extends CambistError {
  readonly problem: TransmitterProblem;

  constructor(problem: TransmitterProblem, message: string, options?: CambistErrorOptions) {
    super(CODES[problem] ?? 'ERR_STS_UNAVAILABLE', message, options);
    this.problem = problem;
  }
}

const HEADER_VALUE = /^[\t\x20-\x7e]+$/;

export interface ClientOptions {
  readonly dispatcher: () => Dispatcher | Promise<Dispatcher>;
  readonly tokens: () => OwnTokens;
  readonly clock: Pick<Clock, 'wallMs'>;
}

/** Polls a transmitter. @throws {TransmitterError} `isTimeout` recognizes the `cause` where no complete response arrived in time */
export type Poll = (body: { readonly maxEvents: number }, timeoutMs: number) => Promise<PolledSets>;

export function createPoll(
  { name, client, authorization }: Transmitter,
  endpoint: string,
  { dispatcher, tokens, clock }: ClientOptions,
): Poll {
  const label = `transmitter "${name}"`;
  const url = toRequestUrl(endpoint);

  async function authorize(): Promise<string | undefined> {
    try {
      if (client !== undefined) return await tokens().obtain(client.authorizationServer, client.scope, OF_SIGNALS);
      if (authorization === undefined) return undefined;
      const value = (await readCredential(authorization, `authorization of ${label}`)).reveal().trim();
      if (HEADER_VALUE.test(value)) return value;
    } catch (cause) {
      throw new TransmitterError('credential', `${label}: the credential for requests to it is unavailable`, { cause });
    }
    throw new TransmitterError('credential', `${label}: its authorization file does not contain a header value`);
  }

  async function send(body: object, authorizedBy: string | undefined, timeoutMs: number): Promise<HttpResponse> {
    const headers = {
      accept: 'application/json',
      'content-type': 'application/json',
      // The language of the descriptions of errors (RFC 8936 section 2.6).
      ...('setErrs' in body && { 'content-language': 'en' }),
      ...(authorizedBy !== undefined && { authorization: authorizedBy }),
    };
    const content = { method: 'POST', url, headers, body: Buffer.from(JSON.stringify(body)) } as const;
    try {
      return await boundedRequest(await dispatcher(), { ...content, untilMs: performance.now() + timeoutMs });
    } catch (cause) {
      if (cause instanceof ResponseTooLargeError)
        throw new TransmitterError('response', `${label}: ${cause.message}`, { cause });
      // The pool could not read the CA.
      if (cause instanceof CambistError)
        throw new TransmitterError('credential', `${label}: its CA is unavailable`, { cause });
      const why = isTimeout(cause)
        ? `it did not respond within ${formatDuration(timeoutMs)}`
        : 'it is unreachable, or its response is broken';
      throw new TransmitterError('unreachable', `${label}: ${why}`, { cause });
    }
  }

  /** A token may be revoked, so one that is refused is replaced once. */
  async function sendAuthorized(body: object, timeoutMs: number): Promise<HttpResponse> {
    const value = await authorize();
    const first = await send(body, value, timeoutMs);
    if (first.status !== 401 || client === undefined) return first;
    tokens().drop(client.authorizationServer, client.scope);
    const next = await authorize();
    return next === value ? first : send(body, next, timeoutMs);
  }

  return async (body, timeoutMs) =>
    readPollResponse(await sendAuthorized(body, timeoutMs), label, body.maxEvents, clock.wallMs());
}

/** Events with their `jti`. */
export type PolledSets = readonly (readonly [jti: string, token: string])[];

/** Longest `jti`. It is repeated in the next request. */
const MAX_JTI_LENGTH = 1024;

/**
 * Reads the response to a poll. Pure.
 * @param max number of sets to read; the next poll gets the others
 * @throws {TransmitterError}
 * @see RFC 8936 section 2.2
 */
export function readPollResponse(response: HttpResponse, label: string, max: number, wallMs: number): PolledSets {
  if (response.status !== 200) throw unexpectedStatus(label, response, wallMs);
  const body = parseJsonObject(response.text);
  if (body === undefined) throw invalid(label, 'the response to a poll is not a JSON object');
  const { sets = {} } = body;
  if (!isJsonObject(sets)) throw invalid(label, 'its "sets" is not an object');
  return Object.entries(sets)
    .slice(0, max)
    .map(([jti, token]) => {
      if (typeof token !== 'string') throw invalid(label, 'an event is not a string');
      if (jti === '' || jti.length > MAX_JTI_LENGTH) throw invalid(label, 'the name of an event is empty or too long');
      return [jti, token] as const;
    });
}

function invalid(label: string, why: string): TransmitterError {
  return new TransmitterError('response', `${label}: ${why}`);
}

function unexpectedStatus(label: string, { status, retryAfter }: HttpResponse, wallMs: number): TransmitterError {
  const message = `${label}: the request for events returned status ${status}`;
  if (status === 401 || status === 403) return new TransmitterError('unauthorized', message);
  if (status === 404 || status === 409) return new TransmitterError('stream', message);
  if (!isPassing(status)) return new TransmitterError('response', message);
  const retryAfterSeconds = readRetryAfter(retryAfter, wallMs);
  return new TransmitterError('unreachable', message, { retryAfterSeconds });
}
