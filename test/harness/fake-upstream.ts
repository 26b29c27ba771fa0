import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { closeServer, type HttpServerOptions, listen, startHttpServer } from './http-server.ts';

/** One received request. The body is read only by `body`. */
export interface UpstreamRequest {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  /** Alternating names and values, as received. */
  rawHeaders: string[];
  /** The values of all `Authorization` headers. */
  authorization: string[];
  message: IncomingMessage;
  body(): Promise<Buffer>;
  /** Settles when the peer disconnects before the response is complete. */
  gone: Promise<void>;
}

export type UpstreamHandler = (request: UpstreamRequest, response: ServerResponse) => void | Promise<void>;

export interface FakeUpstream {
  url: string;
  port: number;
  handler: UpstreamHandler;
  requests: UpstreamRequest[];
  close(): Promise<void>;
}

/** An HTTP server with a handler of the test. */
export async function startFakeUpstream(
  handler: UpstreamHandler,
  options: HttpServerOptions = {},
): Promise<FakeUpstream> {
  const server = await startHttpServer((message, response) => {
    const request = receive(message, response);
    upstream.requests.push(request);
    Promise.resolve(upstream.handler(request, response)).catch(() => response.destroy());
  }, options);
  const upstream: FakeUpstream = { url: server.url, port: server.port, handler, requests: [], close: server.close };
  return upstream;
}

function receive(message: IncomingMessage, response: ServerResponse): UpstreamRequest {
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
    rawHeaders: message.rawHeaders,
    authorization: message.headersDistinct.authorization ?? [],
    message,
    body: () => {
      body ??= buffer(message);
      return body;
    },
    gone,
  };
}

export interface RawUpstream {
  url: string;
  /** The bytes received on each connection, as latin1. */
  received: string[];
  close(): Promise<void>;
}

/**
 * A server that sends these bytes after the first received bytes. `node:http` cannot send such framing.
 * @param afterwards `end` closes the connection, `reset` resets it, `keep` leaves it open
 */
export async function startRawUpstream(bytes: string, afterwards: 'end' | 'reset' | 'keep'): Promise<RawUpstream> {
  const received: string[] = [];
  const server = createServer((socket) => {
    sockets.add(socket);
    const index = received.push('') - 1;
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
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
  const sockets = new Set<Socket>();
  const { port } = await listen(server);
  return {
    url: `http://127.0.0.1:${port}`,
    received,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return closeServer(server);
    },
  };
}
