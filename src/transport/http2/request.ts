import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { type Dispatcher, errors } from 'undici';
import { type Backpressure, type Content, pump } from '../pump.ts';

/** undici's controller, with fields that can be changed here. */
type Controller = { -readonly [Key in keyof Dispatcher.DispatchController]: Dispatcher.DispatchController[Key] };

/** Events of a stream for the owner of its session. */
export interface StreamEvents {
  /** The stream has closed without a response. @returns true where the request is sent again, so that the handler is not told */
  readonly onNoResponse: (stream: ClientHttp2Stream) => boolean;
  /** A part of the response body has arrived. */
  readonly onBody: (bytes: number) => void;
  /** The request body is completely sent, or never will be. Called once. */
  readonly onSent: () => void;
  /** The stream no longer counts against the limit of its session. Called once. */
  readonly onEnd: () => void;
}

/**
 * Sends one request over HTTP/2, and reports to undici's handler. Bodies flow in both directions no faster than they are
 * accepted.
 * @param options body: none, a buffer or an iterable of buffers; headers: lower-case names and values in turn
 * @see RFC 9113 section 8.1
 */
export function sendHttp2(
  session: ClientHttp2Session,
  options: Dispatcher.DispatchOptions,
  handler: Dispatcher.DispatchHandler,
  { onNoResponse, onBody, onSent, onEnd }: StreamEvents,
): void {
  const { headersTimeout } = options;
  const body = (options.body ?? null) as Content;
  let stream: ClientHttp2Stream | undefined;
  let timer: NodeJS.Timeout | undefined;
  /** The handler was told the end, or will be told by another attempt. */
  let hasEnded = false;

  const controller: Controller = {
    aborted: false,
    paused: false,
    reason: null,
    rawHeaders: null,
    abort(reason) {
      if (hasEnded) return;
      controller.aborted = true;
      controller.reason = reason;
      fail(reason);
    },
    pause() {
      controller.paused = true;
      stream?.pause();
    },
    resume() {
      controller.paused = false;
      stream?.resume();
    },
  };

  function startResponse(headers: IncomingHttpHeaders): void {
    if (hasEnded) return;
    const status = Number(headers[':status']);
    // Node reports such a status as the final response, but the caller would wait for another one.
    if (status < 200) {
      fail(new Error('HTTP/2: invalid status of the response'));
      return;
    }
    clearTimeout(timer);
    const fields = Object.entries(headers).filter(([name]) => !name.startsWith(':'));
    controller.rawHeaders = fields.flatMap(([name, value = '']) => [value].flat().flatMap((line) => [name, line]));
    handler.onResponseStart?.(controller, status, Object.fromEntries(fields));
  }

  function end(): void {
    if (hasEnded) return;
    hasEnded = true;
    // Nothing reads the rest of the request.
    if (stream?.writableFinished === false) stream.close(constants.NGHTTP2_NO_ERROR);
    handler.onResponseEnd?.(controller, {});
  }

  function fail(error: Error): void {
    if (hasEnded) return;
    hasEnded = true;
    clearTimeout(timer);
    stream?.close(constants.NGHTTP2_CANCEL);
    handler.onResponseError?.(controller, error);
  }

  function startHeadersTimer(): void {
    clearTimeout(timer);
    if (!headersTimeout || hasEnded || controller.rawHeaders !== null) return;
    timer = setTimeout(() => fail(new errors.HeadersTimeoutError()), headersTimeout);
  }

  function follow(opened: ClientHttp2Stream): void {
    const isComplete = watchEnd(opened);
    let failure: NodeJS.ErrnoException | undefined;
    opened.once('response', startResponse);
    opened.on('data', (chunk: Buffer) => {
      onBody(chunk.length);
      if (!hasEnded) handler.onResponseData?.(controller, chunk);
    });
    opened.once('end', () => {
      if (isComplete()) end();
    });
    opened.once('error', (error: NodeJS.ErrnoException) => {
      // Its message has the name of the code, which the log would redact.
      if (error.code !== 'ERR_HTTP2_STREAM_ERROR') failure = error;
    });
    opened.once('close', () => {
      if (!hasEnded && controller.rawHeaders === null && onNoResponse(opened)) {
        hasEnded = true;
        clearTimeout(timer);
      }
      if (!opened.writableFinished) onSent();
      onEnd();
      fail(
        failure ??
          new Error(`HTTP/2: the stream closed with error code ${opened.rstCode} before the response was complete`),
      );
    });
    opened.once('finish', onSent);
  }

  handler.onRequestStart?.(controller, {});
  try {
    if (!hasEnded) stream = session.request(fieldsOf(options), { endStream: body === null });
  } catch (error) {
    fail(error as Error);
  }
  if (stream === undefined) {
    onSent();
    onEnd();
    return;
  }
  follow(stream);
  if (body === null) {
    startHeadersTimer();
  } else {
    const backpressure = { blocked: startHeadersTimer, unblocked: () => clearTimeout(timer) };
    upload(body, stream, backpressure).then(startHeadersTimer, fail);
  }
}

async function upload(
  body: Buffer | AsyncIterable<Buffer>,
  stream: ClientHttp2Stream,
  backpressure: Backpressure,
): Promise<void> {
  if (Buffer.isBuffer(body)) stream.end(body);
  else if (await pump(body, stream, backpressure)) stream.end();
}

/**
 * Tells a complete response from one that the upstream reset. In Node both emit `end`, but a stream that was reset is closed before
 * its readable side ends (RFC 9113 section 8.1: END_STREAM).
 * @returns whether the response is complete
 */
function watchEnd(stream: ClientHttp2Stream): () => boolean {
  const push = stream.push.bind(stream);
  let isComplete = false;
  stream.push = (chunk, encoding) => {
    if (chunk === null && !stream.closed) isComplete = true;
    return push(chunk, encoding);
  };
  return () => isComplete;
}

/** Joins the values of a repeated header (for `cookie`: RFC 9113 section 8.2.3). `Host` becomes `:authority`. */
function fieldsOf({ origin, path, method, headers }: Dispatcher.DispatchOptions): OutgoingHttpHeaders {
  const { protocol, host } = new URL(String(origin));
  // Without a prototype, because a header may be named like one of its members.
  const fields: Record<string, string> = Object.assign(Object.create(null), {
    ':method': method,
    ':scheme': protocol.slice(0, -1),
    ':authority': host,
    ':path': path,
  });
  const flat = (headers ?? []) as readonly string[];
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i] === 'host' ? ':authority' : (flat[i] as string);
    const value = flat[i + 1] as string;
    const previous = name === ':authority' ? undefined : fields[name];
    fields[name] = previous === undefined ? value : `${previous}${name === 'cookie' ? '; ' : ', '}${value}`;
  }
  return fields;
}

/** Fails a request that was not sent. */
export function failUnsent(handler: Dispatcher.DispatchHandler, error: Error): void {
  const nothing = (): void => {};
  const controller = { aborted: true, paused: false, reason: error, abort: nothing, pause: nothing, resume: nothing };
  handler.onResponseError?.(controller, error);
}
