import type { Dispatcher } from 'undici';
import { type JsonObject, parseJsonObject } from '../tokens/token-text.ts';

/** A request to an authorization server or issuer, and its response. It contains tokens: findings are made from it, but it is never shown. */
export interface RecordedRequest {
  readonly method: string;
  readonly url: string;
  /** Empty unless it is a token request. */
  readonly form: URLSearchParams;
  /** Epoch milliseconds. */
  readonly sentAtMs: number;
  readonly respondedAtMs: number | undefined;
  readonly status: number | undefined;
  /** The header `Date` of the response. */
  readonly date: string | undefined;
  readonly text: string;
  readonly error: unknown;
}

/** The part of a token request and its response that findings need. */
export type TokenResponse = Pick<RecordedRequest, 'form' | 'sentAtMs' | 'respondedAtMs' | 'status' | 'text'>;

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/** Wraps a pool to record each request and its response. The doctor thus sees the requests that the program's own code sends. */
export function recordRequests(
  pool: Dispatcher,
  record: (request: RecordedRequest) => void,
  nowMs: () => number,
): Dispatcher {
  return pool.compose((dispatch) => (options, handler) => {
    const request: Writable<RecordedRequest> = {
      method: options.method,
      url: `${options.origin}${options.path}`,
      form: new URLSearchParams(String(options.body ?? '')),
      sentAtMs: nowMs(),
      respondedAtMs: undefined,
      status: undefined,
      date: undefined,
      text: '',
      error: undefined,
    };
    record(request);
    const chunks: Buffer[] = [];
    return dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onResponseStart(controller, status, headers, message) {
        request.respondedAtMs = nowMs();
        request.status = status;
        request.date = headers.date?.toString();
        handler.onResponseStart?.(controller, status, headers, message);
      },
      onResponseData(controller, chunk) {
        chunks.push(Buffer.from(chunk));
        handler.onResponseData?.(controller, chunk);
      },
      onResponseEnd(controller, trailers) {
        request.text = Buffer.concat(chunks).toString('utf8');
        handler.onResponseEnd?.(controller, trailers);
      },
      onResponseError(controller, error) {
        request.error = error;
        handler.onResponseError?.(controller, error);
      },
    });
  });
}

/** The response body as a JSON object, or an empty object if it is not one. */
export function jsonBodyOf({ text }: Pick<RecordedRequest, 'text'>): Readonly<JsonObject> {
  return parseJsonObject(text) ?? {};
}

export function issuedTokenOf(request: Pick<RecordedRequest, 'status' | 'text'>): string | undefined {
  if (request.status !== 200) return undefined;
  const { access_token: token } = jsonBodyOf(request);
  return typeof token === 'string' && token !== '' ? token : undefined;
}
