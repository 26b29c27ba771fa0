import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

/** An answer of an authorization server, read whole. */
export interface HttpAnswer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** RFC 9449 section 8. */
  readonly dpopNonce?: string;
  readonly text: string;
}

/** Where a request goes, in parts: taken apart once, where many go. */
export interface RequestUrl {
  readonly text: string;
  readonly origin: string;
  /** With the query. */
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
  readonly body?: string;
  /** Milliseconds of `performance.now()`: all of it, connecting, waiting and reading, is over by then. */
  readonly untilMs: number;
}

/** The server is there, and what it says is of no use. */
export class AnswerTooLargeError extends Error {}

/** Largest answer that is read; a token response or metadata document is a few KiB. */
const MAX_ANSWER_BYTES = 256 * 1024;

/**
 * One request to an authorization server: no redirect is followed, and neither time nor size is without bound. What goes beyond
 * either loses its connection.
 * @throws {Error} whatever went wrong on the way
 */
export function boundedRequest(
  dispatcher: Dispatcher,
  { method, url: { origin, path }, headers, body, untilMs }: BoundedRequest,
): Promise<HttpAnswer> {
  const chunks: Buffer[] = [];
  let size = 0;
  let head: Omit<HttpAnswer, 'text'>;
  let controller: Dispatcher.DispatchController | undefined;

  return new Promise((resolve, reject) => {
    let late: DOMException | undefined;
    const giveUp = (): void => {
      late = new DOMException('its time is up', 'TimeoutError');
      reject(late);
      controller?.abort(late);
    };
    const leftMs = untilMs - performance.now();
    if (leftMs <= 0) return giveUp();
    const timer = setTimeout(giveUp, leftMs);

    // The handler of `request` makes a stream of each answer, which costs more than all that is read from it.
    dispatcher.dispatch(
      { origin, path, method, headers, body: body === undefined ? null : Buffer.from(body) },
      {
        onRequestStart(started) {
          controller = started;
          // Its time may have gone by while it was being connected for.
          if (late !== undefined) controller.abort(late);
        },
        onResponseStart(_, status, answered) {
          head = readHead(status, answered);
        },
        onResponseData(_, chunk) {
          size += chunk.length;
          chunks.push(chunk);
          if (size > MAX_ANSWER_BYTES) {
            controller?.abort(new AnswerTooLargeError(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`));
          }
        },
        onResponseEnd() {
          clearTimeout(timer);
          resolve({ ...head, text: Buffer.concat(chunks).toString('utf8') });
        },
        onResponseError(_, error) {
          clearTimeout(timer);
          reject(error);
        },
      },
    );
  });
}

function readHead(status: number, headers: IncomingHttpHeaders): Omit<HttpAnswer, 'text'> {
  const { 'retry-after': retryAfter, 'dpop-nonce': dpopNonce } = headers;
  return {
    status,
    retryAfter: typeof retryAfter === 'string' ? retryAfter : undefined,
    ...(typeof dpopNonce === 'string' && { dpopNonce }),
  };
}
