import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { deferred } from './deferred.ts';
import type { UpstreamHandler } from './fake-upstream.ts';
import { sendResponse } from './faults.ts';

/** The response body of `echo`. */
export interface Echo {
  method: string;
  url: string;
  rawHeaders: string[];
  body: string;
}

/** Responds with 200 and the received request as JSON. */
export const echo: UpstreamHandler = async (request, response) => {
  const { method, url, rawHeaders } = request;
  const body = (await request.body()).toString('utf8');
  sendResponse(response, 200, { method, url, rawHeaders, body } satisfies Echo);
};

/** Always responds the same. */
export function respond(status: number, body: unknown = '', headers: OutgoingHttpHeaders = {}): UpstreamHandler {
  return async (request, response) => {
    await request.body();
    sendResponse(response, status, body, headers);
  };
}

/** Delays the response of another handler. */
export function delayed(delayMs: number, then: UpstreamHandler = echo): UpstreamHandler {
  return async (request, response) => {
    await delay(delayMs);
    await then(request, response);
  };
}

/** Accepts the request and never responds. */
export const neverRespond: UpstreamHandler = () => {};

/** Responds with 401 if the predicate matches the token, and otherwise calls `then`. */
export function refuseBearer(isRefused: (token: string) => boolean, then: UpstreamHandler = echo): UpstreamHandler {
  return async (request, response) => {
    const token = (request.authorization[0] ?? '').replace(/^\S+ /, '');
    if (!isRefused(token)) return then(request, response);
    await request.body();
    sendResponse(response, 401, '{"error":"invalid_token"}', { 'www-authenticate': 'Bearer error="invalid_token"' });
  };
}

/** Sends fewer bytes than its Content-Length, then closes the connection. */
export function failMidStream(promisedBytes: number, sentBytes: number): UpstreamHandler {
  return (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': promisedBytes });
    response.write(Buffer.alloc(sentBytes, 'x'), () => response.destroy());
  };
}

export interface Flood {
  handler: UpstreamHandler;
  /** The bytes written so far. Stops growing while the peer does not read. */
  writtenBytes(): number;
}

/** Sends a body of this size, with backpressure. */
export function flood(totalBytes: number): Flood {
  let written = 0;
  const chunk = Buffer.alloc(64 * 1024, 'x');
  return {
    writtenBytes: () => written,
    handler: async (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': totalBytes });
      while (written < totalBytes && !response.destroyed) {
        const next = chunk.subarray(0, Math.min(chunk.length, totalBytes - written));
        written += next.length;
        if (!response.write(next)) await drained(response);
      }
      response.end();
    },
  };
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
  });
}

export interface EventStream {
  handler: UpstreamHandler;
  /** Settles when the client of the stream disconnects. */
  gone: Promise<void>;
  /** Open streams, in the order of their requests. */
  streams: ReadonlySet<ServerResponse>;
  /** Sends one event to every open stream. */
  emit(data: string): void;
  /** Writes bytes to every open stream. */
  write(bytes: string | Buffer): void;
  end(): void;
}

/** A stream of server-sent events, which the test emits. */
export function eventStream(headers: OutgoingHttpHeaders = {}): EventStream {
  const streams = new Set<ServerResponse>();
  const { promise: gone, resolve: markGone } = deferred<void>();
  const write = (bytes: string | Buffer): void => {
    for (const stream of streams) stream.write(bytes);
  };
  return {
    gone,
    streams,
    write,
    handler: (request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', ...headers });
      response.flushHeaders();
      streams.add(response);
      response.once('close', () => streams.delete(response));
      void request.gone.then(markGone);
    },
    emit: (data) => write(`data: ${data}\n\n`),
    end: () => {
      for (const stream of streams) stream.end();
    },
  };
}
