import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { Transmitter } from '../config/signals.ts';
import { formatDuration } from '../config/units.ts';
import { CambistError } from '../errors.ts';
import { OF_SIGNALS } from '../observability/expected.ts';
import { readCredential } from '../secrets/credential.ts';
import {
  type BoundedRequest,
  boundedRequest,
  type HttpResponse,
  isTimeout,
  type RequestUrl,
  ResponseTooLargeError,
} from '../tokens/bounded-request.ts';
import type { OwnTokens } from '../tokens/own-tokens.ts';
import { TransmitterError, unexpectedStatus } from './problems.ts';

/** Sends polls to a transmitter, with cambist's credential. */
export interface TransmitterClient {
  /** Sends JSON. @throws {TransmitterError} {TransmitterTimeout} {TransmitterTooLarge} */
  post(url: RequestUrl, body: object, timeoutMs: number): Promise<HttpResponse>;
  /** The error of a response whose status is not the expected one. @param what was requested */
  unexpected(what: string, response: HttpResponse): TransmitterError;
}

/** No complete response arrived in time. */
export class TransmitterTimeout extends TransmitterError {}
/** The response is larger than the limit. */
export class TransmitterTooLarge extends TransmitterError {}

/** Characters of a header value. */
const HEADER_VALUE = /^[\t\x20-\x7e]+$/;

export interface ClientOptions {
  readonly dispatcher: () => Dispatcher | Promise<Dispatcher>;
  readonly tokens: () => OwnTokens;
  readonly clock: Pick<Clock, 'wallMs'>;
}

export function createTransmitterClient(
  transmitter: Transmitter,
  { dispatcher, tokens, clock }: ClientOptions,
): TransmitterClient {
  const { name, client, authorization } = transmitter;
  const label = `transmitter "${name}"`;

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

  async function send(request: Omit<BoundedRequest, 'untilMs'>, timeoutMs: number): Promise<HttpResponse> {
    try {
      return await boundedRequest(await dispatcher(), { ...request, untilMs: performance.now() + timeoutMs });
    } catch (cause) {
      if (cause instanceof ResponseTooLargeError) {
        throw new TransmitterTooLarge('response', `${label}: ${cause.message}`, { cause });
      }
      // The pool could not read the CA.
      if (cause instanceof CambistError)
        throw new TransmitterError('credential', `${label}: its CA is unavailable`, { cause });
      if (isTimeout(cause)) {
        const message = `${label}: it did not respond within ${formatDuration(timeoutMs)}`;
        throw new TransmitterTimeout('unreachable', message, { cause });
      }
      throw new TransmitterError('unreachable', `${label}: it is unreachable, or its response is broken`, { cause });
    }
  }

  /** A token may be revoked, so one that is refused is replaced once. */
  async function sendAuthorized(request: Omit<BoundedRequest, 'untilMs'>, timeoutMs: number): Promise<HttpResponse> {
    const value = await authorize();
    const first = await send(withAuthorization(request, value), timeoutMs);
    if (first.status !== 401 || client === undefined) return first;
    tokens().drop(client.authorizationServer, client.scope);
    const next = await authorize();
    return next === value ? first : send(withAuthorization(request, next), timeoutMs);
  }

  return {
    unexpected: (what, response) => unexpectedStatus(`${label}: ${what}`, response, clock.wallMs()),
    post: (url, body, timeoutMs) => {
      const headers = {
        accept: 'application/json',
        'content-type': 'application/json',
        // The language of the descriptions of errors (RFC 8936 section 2.6).
        ...('setErrs' in body && { 'content-language': 'en' }),
      };
      return sendAuthorized({ method: 'POST', url, headers, body: Buffer.from(JSON.stringify(body)) }, timeoutMs);
    },
  };
}

function withAuthorization<Request extends Pick<BoundedRequest, 'headers'>>(
  request: Request,
  authorization: string | undefined,
): Request {
  return authorization === undefined ? request : { ...request, headers: { ...request.headers, authorization } };
}
