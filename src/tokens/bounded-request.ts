import { type Dispatcher, request } from 'undici';

/** An answer of an authorization server, read whole. */
export interface HttpAnswer {
  readonly status: number;
  readonly retryAfter: string | undefined;
  /** RFC 9449 section 8. */
  readonly dpopNonce?: string;
  readonly text: string;
}

export interface BoundedRequest {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body?: string;
  /** Ends everything: connecting, waiting, reading. */
  readonly signal: AbortSignal;
}

/** The server is there, and what it says is of no use. */
export class AnswerTooLargeError extends Error {}

/** Largest answer that is read; a token response or metadata document is a few KiB. */
const MAX_ANSWER_BYTES = 256 * 1024;

/**
 * One request to an authorization server: no redirect is followed, and neither time nor size is without bound.
 * @throws {Error} whatever went wrong on the way
 */
export async function boundedRequest(dispatcher: Dispatcher, options: BoundedRequest): Promise<HttpAnswer> {
  const { url, ...rest } = options;
  const answer = await request(url, { ...rest, dispatcher });
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    size += chunk.length;
    // Leaving the loop destroys the body, and with it the connection.
    if (size > MAX_ANSWER_BYTES) throw new AnswerTooLargeError(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  const { 'retry-after': retryAfter, 'dpop-nonce': dpopNonce } = answer.headers;
  return {
    status: answer.statusCode,
    retryAfter: typeof retryAfter === 'string' ? retryAfter : undefined,
    ...(typeof dpopNonce === 'string' && { dpopNonce }),
    text: Buffer.concat(chunks).toString('utf8'),
  };
}
