import type { IncomingMessage } from 'node:http';
import { CambistError } from '../errors.ts';
import type { Routed } from './steps.ts';

/** The body of a request on its way upstream. */
export interface RequestBody {
  /** For the first attempt: whole, streaming, or none. */
  readonly content: Buffer | AsyncIterable<Buffer> | null;
  /** For a second attempt; undefined where it was not kept. */
  replay(): Buffer | null | undefined;
}

const NOTHING = Buffer.alloc(0);

const NO_BODY: RequestBody = { content: null, replay: () => null };

export function isStreamed({ content }: RequestBody): boolean {
  return content !== null && !Buffer.isBuffer(content);
}

/** Reads the body of a routed request, unless it was read to find the route. */
export function readBody({ request, route, wholeBody: content }: Routed): RequestBody | Promise<RequestBody> {
  if (content !== undefined) return wholeBody(content);
  return takeBody(request.incoming, 'authorizationServer' in route.credential ? route.retryBodyLimitBytes : 0);
}

/**
 * Takes the body of a request. A body that says it is small is read whole, which is quicker and can be sent twice; any other
 * streams from its first bytes on, and while it is small a copy is kept. Nothing would go upstream before those bytes, so
 * that a token which was there before them would only grow old.
 * @param keepBytes the largest body that is kept for a second attempt; 0 keeps none
 * @throws {CambistError} ERR_UPSTREAM_UNREACHABLE where the caller goes away meanwhile; nobody is there to read it
 */
export function takeBody(request: IncomingMessage, keepBytes: number): RequestBody | Promise<RequestBody> {
  const length = request.headers['content-length'];
  if (length === undefined) {
    return request.headers['transfer-encoding'] === undefined ? NO_BODY : streamFromFirst(request, keepBytes);
  }
  if (length === '0') return NO_BODY;
  return Number(length) <= keepBytes ? readWhole(request, keepBytes).then(wholeBody) : streamFromFirst(request, 0);
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

/** A body that was read already. */
export function wholeBody(content: Buffer | undefined): RequestBody {
  return content === undefined || content.length === 0 ? NO_BODY : { content, replay: () => content };
}

/**
 * Reads a body to its end.
 * @returns undefined where it is larger than that; what is left of it is then not read
 * @throws {CambistError} ERR_UPSTREAM_UNREACHABLE where the caller goes away meanwhile; nobody is there to read it
 */
export async function readWhole(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length']) > limitBytes) return undefined;
  // What has come with the head is there a moment later, and mostly that is all.
  await undefined;
  if (request.complete && request.readableLength <= limitBytes) return request.read() ?? NOTHING;
  if (request.destroyed) throw callerGone(request.errored);
  return readRest(request, limitBytes);
}

function readRest(request: IncomingMessage, limitBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  return new Promise((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      size += chunk.length;
      if (size <= limitBytes) {
        chunks.push(chunk);
        return;
      }
      request.off('data', take);
      request.pause();
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

/** Settles when something of the body has come, or its end. */
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
 * The request is handed on as an iterable and not as a stream: whoever ends reading a stream early destroys it, and with it
 * the caller's connection, on which an answer has yet to go.
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
