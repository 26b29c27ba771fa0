import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { UpstreamHandler } from './fake-upstream.ts';
import { sendAnswer } from './faults.ts';

/** What `echo` answers with. */
export interface Echo {
  method: string;
  url: string;
  rawHeaders: string[];
  body: string;
}

/** 200, and what arrived, as JSON. */
export const echo: UpstreamHandler = async (request, response) => {
  const { method, url, rawHeaders } = request;
  const body = (await request.body()).toString('utf8');
  sendAnswer(response, 200, { method, url, rawHeaders, body } satisfies Echo);
};

/** Always the same answer. */
export function answer(status: number, body: unknown = '', headers: OutgoingHttpHeaders = {}): UpstreamHandler {
  return async (request, response) => {
    await request.body();
    sendAnswer(response, status, body, headers);
  };
}

/** Headers come after a while; then as `then` says. */
export function slowly(delayMs: number, then: UpstreamHandler = echo): UpstreamHandler {
  return async (request, response) => {
    await delay(delayMs);
    await then(request, response);
  };
}

/** Takes the request and never answers. */
export const silence: UpstreamHandler = () => {};

/** 401 to every bearer that the predicate names, and `then` to others. */
export function refuseBearer(isRefused: (token: string) => boolean, then: UpstreamHandler = echo): UpstreamHandler {
  return async (request, response) => {
    const token = (request.authorization[0] ?? '').replace(/^\S+ /, '');
    if (!isRefused(token)) return then(request, response);
    await request.body();
    sendAnswer(response, 401, '{"error":"invalid_token"}', { 'www-authenticate': 'Bearer error="invalid_token"' });
  };
}

/** Promises so many bytes, sends fewer, and breaks the connection. */
export function dieMidStream(promisedBytes: number, sentBytes: number): UpstreamHandler {
  return (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': promisedBytes });
    response.write(Buffer.alloc(sentBytes, 'x'), () => response.destroy());
  };
}

export interface Flood {
  handler: UpstreamHandler;
  /** How much the connection took so far: it stops growing while the far end does not read. */
  writtenBytes(): number;
}

/** A body of so many bytes, written only as fast as it is read. */
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
  /** Settles with the first request for the stream. */
  opened: Promise<void>;
  /** Settles when the reader of the stream went away. */
  gone: Promise<void>;
  /** To every open stream: one SSE event with this data. */
  emit(data: string): void;
  end(): void;
}

/** Server-sent events, each when the test says so. */
export function eventStream(headers: OutgoingHttpHeaders = {}): EventStream {
  const streams = new Set<ServerResponse>();
  let markOpened = () => {};
  let markGone = () => {};
  const opened = new Promise<void>((resolve) => {
    markOpened = resolve;
  });
  const gone = new Promise<void>((resolve) => {
    markGone = resolve;
  });
  return {
    opened,
    gone,
    handler: (request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', ...headers });
      response.flushHeaders();
      streams.add(response);
      response.once('close', () => streams.delete(response));
      void request.gone.then(markGone);
      markOpened();
    },
    emit: (data) => {
      for (const stream of streams) stream.write(`data: ${data}\n\n`);
    },
    end: () => {
      for (const stream of streams) stream.end();
    },
  };
}
