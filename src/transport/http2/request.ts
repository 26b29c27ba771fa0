import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { type Dispatcher, errors } from 'undici';
import { type Content, type Flow, pump } from '../pump.ts';

/** As undici has it, with fields that we change. */
type Controller = { -readonly [Key in keyof Dispatcher.DispatchController]: Dispatcher.DispatchController[Key] };

/** What becomes of a stream, for whoever counts those of its session. */
export interface StreamEvents {
  /** The upstream has given it up without an answer. @returns true where it is sent anew: the handler is then not told */
  readonly unanswered: (stream: ClientHttp2Stream) => boolean;
  /** Called once, when it takes no room in its session any more. */
  readonly ended: () => void;
}

/**
 * Sends one request over HTTP/2, and tells a handler of undici's what comes of it. Bodies pass both ways no faster than they are
 * taken.
 * @param options body: none, a buffer or an iterable of buffers; headers: lower-case names and values in turn
 * @see RFC 9113 section 8.1
 */
export function sendHttp2(
  session: ClientHttp2Session,
  options: Dispatcher.DispatchOptions,
  handler: Dispatcher.DispatchHandler,
  { unanswered, ended }: StreamEvents,
): void {
  const { headersTimeout } = options;
  const body = (options.body ?? null) as Content;
  let stream: ClientHttp2Stream | undefined;
  let timer: NodeJS.Timeout | undefined;
  /** The handler was told the end, or is told another's. */
  let over = false;

  const controller: Controller = {
    aborted: false,
    paused: false,
    reason: null,
    rawHeaders: null,
    abort(reason) {
      if (over) return;
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

  function begin(headers: IncomingHttpHeaders): void {
    if (over) return;
    const status = Number(headers[':status']);
    // Node takes it for the answer, and whoever is told would wait for another.
    if (status < 200) {
      fail(new Error('HTTP/2: the status of the answer is none'));
      return;
    }
    clearTimeout(timer);
    const fields = Object.entries(headers).filter(([name]) => !name.startsWith(':'));
    controller.rawHeaders = fields.flatMap(([name, value = '']) => [value].flat().flatMap((line) => [name, line]));
    handler.onResponseStart?.(controller, status, Object.fromEntries(fields));
  }

  function end(): void {
    if (over) return;
    over = true;
    // What is left of the request, nobody will read.
    if (stream?.writableFinished === false) stream.close(constants.NGHTTP2_NO_ERROR);
    handler.onResponseEnd?.(controller, {});
  }

  function fail(error: Error): void {
    if (over) return;
    over = true;
    clearTimeout(timer);
    stream?.close(constants.NGHTTP2_CANCEL);
    handler.onResponseError?.(controller, error);
  }

  /** From here on it is the upstream that is waited for. */
  function expectHead(): void {
    clearTimeout(timer);
    if (!headersTimeout || over || controller.rawHeaders !== null) return;
    timer = setTimeout(() => fail(new errors.HeadersTimeoutError()), headersTimeout);
  }

  function follow(opened: ClientHttp2Stream): void {
    const isWhole = watchEnd(opened);
    let failure = new Error('HTTP/2: the stream was given up before the answer was whole');
    opened.once('response', begin);
    opened.on('data', (chunk: Buffer) => {
      if (!over) handler.onResponseData?.(controller, chunk);
    });
    opened.once('end', () => {
      if (isWhole()) end();
    });
    opened.once('error', (error: Error) => {
      failure = error;
    });
    opened.once('close', () => {
      if (!over && controller.rawHeaders === null && unanswered(opened)) {
        over = true;
        clearTimeout(timer);
      }
      ended();
      fail(failure);
    });
  }

  handler.onRequestStart?.(controller, {});
  try {
    if (!over) stream = session.request(fieldsOf(options), { endStream: body === null });
  } catch (error) {
    fail(error as Error);
  }
  if (stream === undefined) {
    ended();
    return;
  }
  follow(stream);
  if (body === null) expectHead();
  else upload(body, stream, { stalled: expectHead, flows: () => clearTimeout(timer) }).then(expectHead, fail);
}

async function upload(body: Buffer | AsyncIterable<Buffer>, stream: ClientHttp2Stream, flow: Flow): Promise<void> {
  if (Buffer.isBuffer(body)) stream.end(body);
  else if (await pump(body, stream, flow)) stream.end();
}

/**
 * To Node, a stream that the other side gave up half-way ends like one that came to its end (RFC 9113 section 8.1: END_STREAM),
 * but for this: there it has closed the stream before it ends what is read of it.
 * @returns did the answer come to its end?
 */
function watchEnd(stream: ClientHttp2Stream): () => boolean {
  const push = stream.push.bind(stream);
  let whole = false;
  stream.push = (chunk, encoding) => {
    if (chunk === null && !stream.closed) whole = true;
    return push(chunk, encoding);
  };
  return () => whole;
}

/** Each header is one field, but the lines of `cookie` (RFC 9113 section 8.2.3). `Host` is `:authority`. */
function fieldsOf({ origin, path, method, headers }: Dispatcher.DispatchOptions): OutgoingHttpHeaders {
  const { protocol, host } = new URL(String(origin));
  // A header may have the name of what every object has.
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
    const before = name === ':authority' ? undefined : fields[name];
    fields[name] = before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`;
  }
  return fields;
}

/** Tells a handler that its request was not sent. */
export function failUnsent(handler: Dispatcher.DispatchHandler, error: Error): void {
  const nothing = (): void => {};
  const controller = { aborted: true, paused: false, reason: error, abort: nothing, pause: nothing, resume: nothing };
  handler.onResponseError?.(controller, error);
}
