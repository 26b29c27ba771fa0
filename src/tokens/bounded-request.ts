import { performance } from 'node:perf_hooks';
import type { Dispatcher } from 'undici';
import { CambistError } from '../errors.ts';
import type { RawHandler } from '../transport/http1/upstream-request.ts';
import { isHeader } from '../transport/http1/write-request.ts';

export interface HttpResponse {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** RFC 9449 section 8. */
  readonly dpopNonce?: string | undefined;
  readonly text: string;
}

/** A URL in parts, so that repeated requests do not parse it again. */
export interface RequestUrl {
  readonly text: string;
  readonly origin: string;
  /** The path includes the query. */
  readonly path: string;
}

export function toRequestUrl(text: string): RequestUrl {
  const { origin, pathname, search } = new URL(text);
  return { text, origin, path: pathname + search };
}

export interface BoundedRequest {
  readonly method: 'GET' | 'POST';
  readonly url: RequestUrl;
  readonly headers: Record<string, string>;
  /** A text has one character for each byte, as an encoded form does. */
  readonly body?: string | Buffer;
  /** Deadline in milliseconds of `performance.now()`. It covers connecting, waiting and reading. */
  readonly untilMs: number;
}

/** The server is reachable, but its response is unusable. */
export class ResponseTooLargeError extends Error {}

/** Did `boundedRequest` reach its deadline? */
export function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'TimeoutError';
}

/** Largest response that is read. A token response or metadata document takes a few KiB. */
const MAX_RESPONSE_BYTES = 256 * 1024;

/**
 * Sends one request to an authorization server. It follows no redirect. A request that exceeds its time or size loses its
 * connection.
 * @param dispatcher one of `src/transport`, which reports names and values of headers as text
 * @throws {Error} any network error, timeout or `ResponseTooLargeError`
 */
export function boundedRequest(
  dispatcher: Dispatcher,
  { method, url: { origin, path }, headers, body, untilMs }: BoundedRequest,
): Promise<HttpResponse> {
  const chunks: Buffer[] = [];
  let size = 0;
  let start: Omit<HttpResponse, 'text'>;
  let controller: Dispatcher.DispatchController | undefined;

  return new Promise((resolve, reject) => {
    let timeout: DOMException | undefined;
    const abort = (): void => {
      timeout = new DOMException('the time limit was reached', 'TimeoutError');
      reject(timeout);
      controller?.abort(timeout);
    };
    const leftMs = untilMs - performance.now();
    if (leftMs <= 0) return abort();
    const timer = setTimeout(abort, leftMs);

    const handler: RawHandler = {
      readsRawHeaders: true,
      onRequestStart(started) {
        controller = started;
        // The deadline may have passed while connecting.
        if (timeout !== undefined) controller.abort(timeout);
      },
      onResponseStart({ rawHeaders }, status) {
        const header = (name: string) => singleValue(rawHeaders as string[], name);
        start = { status, retryAfter: header('retry-after'), dpopNonce: header('dpop-nonce') };
      },
      onResponseData(_, chunk) {
        size += chunk.length;
        chunks.push(chunk);
        if (size > MAX_RESPONSE_BYTES) {
          controller?.abort(new ResponseTooLargeError(`the response is larger than ${MAX_RESPONSE_BYTES} bytes`));
        }
      },
      onResponseEnd() {
        clearTimeout(timer);
        const { status, retryAfter, dpopNonce } = start;
        // Most responses arrive in one chunk, which need not be copied.
        const content = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
        resolve({ status, retryAfter, dpopNonce, text: String(content) });
      },
      onResponseError(_, error) {
        clearTimeout(timer);
        reject(error);
      },
    };
    // undici's `request` creates a stream for each response, which costs more than all that is read from it.
    dispatcher.dispatch({ origin, path, method, headers, body: body ?? null }, handler);
  });
}

/** Reads a header. One that is repeated counts as missing. @param rawHeaders names and values in turn */
function singleValue(rawHeaders: readonly string[], name: string): string | undefined {
  let value: string | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (!isHeader(rawHeaders[i] as string, name)) continue;
    if (value !== undefined) return undefined;
    value = rawHeaders[i + 1];
  }
  return value;
}

/** Tells whether a later request may succeed. */
export function isPassing(status: number): boolean {
  return status >= 500 || status === 429 || status === 408;
}

/** The error of a response whose status may pass. @param what the server and status, for messages */
export function passingError(what: string, { status, retryAfter }: HttpResponse, wallMs: number): CambistError {
  const retryAfterSeconds = readRetryAfter(retryAfter, wallMs);
  return new CambistError('ERR_STS_UNAVAILABLE', what, { serverStatus: status, retryAfterSeconds });
}

const MAX_RETRY_AFTER_SECONDS = 60;

/**
 * Reads `Retry-After`, from seconds or an HTTP date, and limits it.
 * @returns seconds; undefined when the header is missing, malformed or an obsolete form of a date
 * @see RFC 9110 section 10.2.3
 */
export function readRetryAfter(value = '', wallMs: number): number | undefined {
  const isDate = /^\w{3}, [\w :]+ GMT$/.test(value);
  if (!isDate && !/^\s*\d+\s*$/.test(value)) return undefined;
  const seconds = isDate ? (Date.parse(value) - wallMs) / 1000 : Number(value);
  return Number.isNaN(seconds) ? undefined : Math.min(MAX_RETRY_AFTER_SECONDS, Math.max(1, Math.ceil(seconds)));
}
