import type { IncomingMessage } from 'node:http';
import type { Config } from '../config/config.ts';
import type { Route } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { addedStateBytes } from '../routing/request-state.ts';
import type { ActiveConfig } from './active-config.ts';

/** The request whose body is read. */
export interface BodySource {
  readonly incoming: IncomingMessage;
  /** Bounds the wait for the caller. Not called for a body that arrived with the headers. */
  waitForBody<T>(reading: Promise<T>): Promise<T>;
}

/** The body of a request on its way upstream. */
export interface RequestBody {
  /** The first attempt sends it: whole, streaming, or none. */
  readonly content: Buffer | AsyncIterable<Buffer> | null;
  /** A second attempt sends it; undefined where it was not kept. */
  replay(): Buffer | null | undefined;
}

const NOTHING = Buffer.alloc(0);

const NO_BODY: RequestBody = { content: null, replay: () => null };

export function isStreamed({ content }: RequestBody): boolean {
  return content !== null && !Buffer.isBuffer(content);
}

/** Reads the body of a request, unless it was read to find the route. */
export function readBody(
  request: BodySource & { readonly active: ActiveConfig },
  route: Route,
  known: Buffer | undefined,
): RequestBody | Promise<RequestBody> {
  if (known !== undefined) return wholeBody(known);
  const { kind } = route.credential;
  const mayRetry = kind !== 'passthrough' && kind !== 'none';
  const isKept = mayRetry || namesMessages(request.active.config);
  const keepBytes = isKept ? route.retryBodyLimitBytes : 0;
  if (route.consent === undefined || request.incoming.method !== 'POST') return takeBody(request, keepBytes);
  return takeWhole(request, keepBytes + addedStateBytes(route));
}

/** Are MCP messages named in audit records or spans? */
function namesMessages({ audit, tracing }: Config): boolean {
  return audit?.tools === true || tracing.mcp;
}

/**
 * Reads the body of a request. A body with a small Content-Length is read whole: that is faster, and it can be sent again. Any
 * other body streams, and a copy is kept while it is small. Its first bytes are awaited, because a token that was obtained
 * earlier would only age.
 * @param keepBytes size of the largest body that is kept for a second attempt; 0 keeps none
 * @throws {CambistError} ERR_UPSTREAM_UNREACHABLE where the caller leaves meanwhile, and the errors of `waitForBody`
 */
export function takeBody(source: BodySource, keepBytes: number): RequestBody | Promise<RequestBody> {
  const { incoming } = source;
  const length = incoming.headers['content-length'];
  const first = (keep: number) => source.waitForBody(streamFromFirst(incoming, keep));
  if (length === undefined) return incoming.headers['transfer-encoding'] === undefined ? NO_BODY : first(keepBytes);
  if (length === '0') return NO_BODY;
  return Number(length) <= keepBytes ? readWhole(source, keepBytes).then(wholeBody) : first(0);
}

/**
 * Reads a body whole, even if it has no Content-Length, unless it is larger than the limit. A retry after a consent may have
 * any framing.
 */
async function takeWhole(source: BodySource, limitBytes: number): Promise<RequestBody> {
  const { incoming } = source;
  if (incoming.headers['transfer-encoding'] === undefined) return takeBody(source, limitBytes);
  const body = await readWhole(source, limitBytes);
  return body === undefined ? stream(incoming, 0) : wholeBody(body);
}

/**
 * Reads the rest of a body that nothing needs any more, and drops it. Otherwise the body would stop the reading of its
 * connection, and so hide the end of that connection from every request on it.
 */
export function discardRest(request: IncomingMessage): void {
  if (!request.complete) request.resume();
}

/** True while the unread body is too long to read on, so that Node does not see the end of the connection. */
export function isReadingPaused(request: IncomingMessage): boolean {
  return request.socket.isPaused() || request.readableLength >= request.readableHighWaterMark;
}

/** A body that is read already. */
export function wholeBody(content: Buffer | undefined): RequestBody {
  return content === undefined || content.length === 0 ? NO_BODY : { content, replay: () => content };
}

/**
 * Reads a body whole.
 * @returns undefined where it is larger than the limit; all of it can then still be read
 * @throws {CambistError} ERR_UPSTREAM_UNREACHABLE where the caller leaves meanwhile, and the errors of `waitForBody`
 */
export async function readWhole(source: BodySource, limitBytes: number): Promise<Buffer | undefined> {
  const request = source.incoming;
  const length = Number(request.headers['content-length']);
  if (length > limitBytes) return undefined;
  // Most bodies arrive with the headers. They are readable a moment later, before Node notes that they are complete.
  await undefined;
  if (request.readableLength === length || (request.complete && request.readableLength <= limitBytes)) {
    const body = request.read();
    // Otherwise the request would not end, and its connection would keep it in memory.
    request.resume();
    return body ?? NOTHING;
  }
  if (request.destroyed) throw callerGone(request.errored);
  return source.waitForBody(readRest(request, limitBytes));
}

function readRest(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  return new Promise((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      size += chunk.length;
      chunks.push(chunk);
      if (size <= limitBytes) return;
      request.off('data', take);
      request.pause();
      request.unshift(Buffer.concat(chunks.splice(0)));
      resolve(undefined);
    };
    request.on('data', take);
    request.on('end', () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)));
    request.on('error', (cause) => reject(callerGone(cause)));
  });
}

function callerGone(cause: unknown): CambistError {
  return new CambistError('ERR_UPSTREAM_UNREACHABLE', 'the caller went away before its request was whole', { cause });
}

/** Settles with the first bytes of the body, or when it is complete. */
function streamFromFirst(request: IncomingMessage, keepBytes: number): Promise<RequestBody> {
  return new Promise((resolve, reject) => {
    const begin = (): void => {
      request.off('readable', begin);
      request.off('end', begin);
      resolve(stream(request, keepBytes));
    };
    request.on('readable', begin);
    request.on('end', begin);
    request.on('error', (cause) => reject(callerGone(cause)));
  });
}

/**
 * Returns an iterable, not a stream: a reader that stops early would destroy the stream, and with it the connection that the
 * response still needs.
 */
function stream(request: IncomingMessage, keepBytes: number): RequestBody {
  let kept: Buffer[] | undefined = [];
  let size = 0;
  let ended = false;
  async function* pass(): AsyncGenerator<Buffer> {
    try {
      for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        size += chunk.length;
        if (size > keepBytes) kept = undefined;
        kept?.push(chunk);
        yield chunk;
      }
      ended = true;
    } finally {
      discardRest(request);
    }
  }
  return {
    content: pass(),
    replay: () => (ended && kept !== undefined ? Buffer.concat(kept) : undefined),
  };
}
