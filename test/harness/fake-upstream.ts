import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { createServer } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../../src/clock/clock.ts';
import { deferred } from './eventually.ts';
import { sendResponse } from './fake-authorization-server.ts';
import { type HttpServerOptions, serve, startHttpServer } from './http-server.ts';
import type { Lifetime } from './lifetime.ts';

export type UpstreamRequest = ReturnType<typeof receiveRequest>;

export type UpstreamHandler = (request: UpstreamRequest, response: ServerResponse) => void | Promise<void>;

export type FakeUpstream = Awaited<ReturnType<typeof startFakeUpstream>>;

/** An HTTP server with a handler of the test, which is closed after `t`. */
export async function startFakeUpstream(t: Lifetime, handler: UpstreamHandler, options: HttpServerOptions = {}) {
  const server = await startHttpServer((message, response) => {
    const request = receiveRequest(message, response);
    upstream.requests.push(request);
    Promise.resolve(upstream.handler(request, response)).catch(() => response.destroy());
  }, options);
  t.after(server.close);
  const requests: UpstreamRequest[] = [];
  const upstream = { url: server.url, port: server.port, handler, requests, close: server.close };
  return upstream;
}

export function receiveRequest(message: IncomingMessage, response: ServerResponse) {
  let body: Promise<Buffer> | undefined;
  const gone = new Promise<void>((resolve) => {
    response.once('close', () => {
      if (!response.writableFinished) resolve();
    });
  });
  return {
    method: message.method ?? '',
    url: message.url ?? '',
    headers: message.headers,
    /** Alternating names and values, as received. */
    rawHeaders: message.rawHeaders,
    authorization: message.headersDistinct.authorization ?? [],
    receivedAtMs: systemClock.wallMs(),
    message,
    body: () => {
      body ??= buffer(message);
      return body;
    },
    /** Settles when the peer disconnects before the response is complete. */
    gone,
  };
}

/**
 * A server that sends these bytes after the first received bytes. `node:http` cannot send such framing.
 * @param afterwards `end` closes the connection, `reset` resets it, `keep` leaves it open
 */
export async function startRawUpstream(t: Lifetime, bytes: string, afterwards: 'end' | 'reset' | 'keep') {
  const received: string[] = [];
  const server = createServer((socket) => {
    const index = received.push('') - 1;
    socket.on('data', (chunk) => {
      received[index] += chunk.toString('latin1');
    });
    socket.once('data', () => {
      socket.write(bytes, 'latin1', () => {
        if (afterwards === 'end') socket.end();
        if (afterwards === 'reset') socket.resetAndDestroy();
      });
    });
  });
  const { port } = await serve(t, server);
  return { url: `http://127.0.0.1:${port}`, received };
}

/** Responds with 200 and the received request as JSON. */
export const echo: UpstreamHandler = async (request, response) => {
  const { method, url, rawHeaders } = request;
  const body = (await request.body()).toString('utf8');
  sendResponse(response, 200, { method, url, rawHeaders, body });
};

export function respond(status: number, body: unknown = '', headers: OutgoingHttpHeaders = {}): UpstreamHandler {
  return async (request, response) => {
    await request.body();
    sendResponse(response, status, body, headers);
  };
}

/** Handles the first request by one handler, and all others by another. */
export function firstThen(first: UpstreamHandler, then: UpstreamHandler = echo): UpstreamHandler {
  let next = first;
  return (request, response) => {
    const handler = next;
    next = then;
    return handler(request, response);
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

/** Sends a body of this size, with backpressure. */
export function flood(totalBytes: number) {
  let written = 0;
  const chunk = Buffer.alloc(64 * 1024, 'x');
  return {
    /** The bytes written so far. Stops growing while the peer does not read. */
    writtenBytes: () => written,
    handler: async (_request: UpstreamRequest, response: ServerResponse) => {
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': totalBytes });
      await pipeline(function* () {
        while (written < totalBytes) {
          const next = chunk.subarray(0, Math.min(chunk.length, totalBytes - written));
          written += next.length;
          yield next;
        }
      }, response);
    },
  };
}

/** A stream of server-sent events, which the test emits. */
export function eventStream(headers: OutgoingHttpHeaders = {}) {
  const streams = new Set<ServerResponse>();
  const { promise: gone, resolve: markGone } = deferred<void>();
  const write = (bytes: string | Buffer): void => {
    for (const stream of streams) stream.write(bytes);
  };
  return {
    gone,
    /** Open streams, in the order of their requests. */
    streams: streams as ReadonlySet<ServerResponse>,
    write,
    handler: (request: UpstreamRequest, response: ServerResponse) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', ...headers });
      response.flushHeaders();
      streams.add(response);
      response.once('close', () => streams.delete(response));
      void request.gone.then(markGone);
    },
    emit: (data: string) => write(`data: ${data}\n\n`),
    end: () => {
      for (const stream of streams) stream.end();
    },
  };
}
