import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { redact } from '../observability/logger.ts';
import { hideCredentials, type SentValue, sentInBasic, sentInForm } from '../tokens/sent-values.ts';

/** One request to an authorization server and what came of it. It holds tokens: findings are made of it, it is never shown. */
export interface RecordedRequest {
  readonly method: string;
  readonly url: string;
  /** Empty but for a token request. */
  readonly form: URLSearchParams;
  /** Value of `Authorization`. */
  readonly authorization: string | undefined;
  /** Epoch milliseconds. */
  readonly sentAtMs: number;
  readonly answeredAtMs: number | undefined;
  /** Undefined where no answer came. */
  readonly status: number | undefined;
  /** Of the answer; a header that came twice is left out. */
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  readonly error: unknown;
}

/** What an OAuth error answer says, fit to be shown to the operator. */
export interface OAuthError {
  readonly status: number;
  readonly error: string;
  /** As it came, for comparison. */
  readonly description: string;
  /** Status, error and description without anything that could be a token. */
  readonly shown: string;
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/**
 * A pool that does what the given one does, and notes each request and its answer: so the doctor sees what the program's
 * own code sends and gets, in place of asking in a way of its own.
 */
export function recordRequests(pool: Dispatcher, requests: RecordedRequest[], nowMs: () => number): Dispatcher {
  return pool.compose((dispatch) => (options, handler) => {
    const request: Writable<RecordedRequest> = {
      method: options.method,
      url: `${options.origin}${options.path}`,
      form: new URLSearchParams(String(options.body ?? '')),
      authorization: headerOf(options.headers, 'authorization'),
      sentAtMs: nowMs(),
      answeredAtMs: undefined,
      status: undefined,
      headers: {},
      text: '',
      error: undefined,
    };
    requests.push(request);
    const chunks: Buffer[] = [];
    return dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onRequestUpgrade: (controller, status, headers, socket) =>
        handler.onRequestUpgrade?.(controller, status, headers, socket),
      onResponseStart(controller, status, headers, message) {
        request.answeredAtMs = nowMs();
        request.status = status;
        request.headers = singleHeaders(headers);
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

function headerOf(headers: Dispatcher.DispatchOptions['headers'], name: string): string | undefined {
  const value: unknown = Object(headers)[name];
  return typeof value === 'string' ? value : undefined;
}

function singleHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
  );
}

/** The answer as a JSON object; empty where it is none. */
export function jsonBodyOf({ text }: RecordedRequest): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** These say something of the server, and nothing of the request. */
const BUSY: ReadonlySet<number> = new Set([408, 429]);

/** @returns undefined where the server did not refuse (RFC 6749 section 5.2) */
export function oauthErrorOf(request: RecordedRequest): OAuthError | undefined {
  const { status } = request;
  if (status === undefined || status < 400 || status >= 500 || BUSY.has(status)) return undefined;
  const { error, error_description: described } = said(jsonBodyOf(request));
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  const hidden = (part: string) => redact(hideCredentials(part, sentIn(request)));
  const shown = [text(error), text(described)].filter((part) => part !== '').map(hidden);
  return {
    status,
    error: text(error),
    description: text(described),
    shown: shown.length === 0 ? `${status}, and no OAuth error` : `${status} ${shown.join(': ')}`,
  };
}

/** Google's API puts status and message of an error where OAuth has its code. */
function said({ error, error_description }: Readonly<Record<string, unknown>>) {
  if (typeof error !== 'object' || error === null) return { error, error_description };
  const { status, message } = error as Record<string, unknown>;
  return { error: status, error_description: message };
}

/** Everything that a token request carried. */
export function sentIn({ form, authorization }: RecordedRequest): SentValue[] {
  const credentials = /^Basic (.*)$/.exec(authorization ?? '')?.[1];
  return [...sentInForm(form), ...(credentials === undefined ? [] : sentInBasic(credentials))];
}

/** The token that an answer bears. */
export function issuedTokenOf(request: RecordedRequest): string | undefined {
  if (request.status !== 200) return undefined;
  const { access_token: token } = jsonBodyOf(request);
  return typeof token === 'string' && token !== '' ? token : undefined;
}
