import type { Socket } from 'node:net';
import { errors } from 'undici';
import { createResponseParser, type ResponseEvents } from './response-parser.ts';
import { createSocketReader } from './sockets.ts';
import type { UpstreamRequest } from './upstream-request.ts';
import { isHeader } from './write-request.ts';

interface ResponseReaderOptions {
  /** The request that the connection carries. */
  readonly request: () => UpstreamRequest | undefined;
  /** The socket has the whole request. */
  readonly isSent: () => boolean;
  /** The headers have arrived. Interim responses do not count. */
  readonly onHeaders: () => void;
  /** The response is complete. @param idleMs how long the connection may stay idle. With 0 it is not reused */
  readonly onEnd: (request: UpstreamRequest, idleMs: number) => void;
  /** The upstream speaks another protocol. @param rest follows the headers */
  readonly onSwitch: (request: UpstreamRequest, headers: string[], rest: Buffer) => void;
  /** The upstream closed its side of the socket. Called after the end of a response without a length. */
  readonly onFinish: (error: Error) => void;
}

/** Limit for the headers of a response. */
const MAX_HEADER_BYTES = 64 * 1024;

const SWITCHING_PROTOCOLS = 101;

/** Reads the responses on a connection, and passes each on to its request. An error destroys the socket. */
export function createResponseReader(socket: Socket, options: ResponseReaderOptions) {
  const { request, isSent, onHeaders, onEnd, onSwitch, onFinish } = options;
  let hasStarted = false;
  let idleMs = 0;
  /** Headers of a 101 response. */
  let upgradeHeaders: string[] | undefined;

  /** @throws {errors.RequestAbortedError} where the handler aborted the request, so that reading stops */
  function activeRequest(): UpstreamRequest {
    const active = request();
    if (active === undefined) throw new errors.RequestAbortedError();
    return active;
  }

  const events: ResponseEvents = {
    isExpected: () => request() !== undefined,
    headers(status, headers, minorVersion) {
      const active = activeRequest();
      if (status === SWITCHING_PROTOCOLS) {
        if (!active.options.upgrade)
          throw new errors.SocketError('the upstream switched protocols without being asked');
        // The rest of the request would be sent in the other protocol (RFC 9110 section 7.8).
        if (!isSent()) throw new errors.SocketError('the upstream switched protocols before it had the whole request');
        upgradeHeaders = headers;
        return 'another protocol';
      }
      // Interim responses are dropped, although RFC 9110 section 15.2 wants them forwarded: no MCP client reads one.
      if (status < 200) return 'no body';
      onHeaders();
      hasStarted = true;
      idleMs = keepAliveMs(status, headers, minorVersion);
      active.startResponse(status, headers);
      activeRequest();
      return active.options.method === 'HEAD' ? 'no body' : 'body';
    },
    body(bytes) {
      activeRequest().data(Buffer.from(bytes));
      activeRequest();
    },
    end(keepsAlive) {
      if (!hasStarted) return;
      hasStarted = false;
      onEnd(activeRequest(), keepsAlive ? idleMs : 0);
    },
  };
  const parser = createResponseParser(events, MAX_HEADER_BYTES);

  const reader = createSocketReader(socket, {
    read(bytes) {
      try {
        const length = parser.read(bytes);
        if (upgradeHeaders === undefined) return length;
        onSwitch(activeRequest(), upgradeHeaders, Buffer.from(bytes.subarray(length)));
      } catch (error) {
        // The socket's `error` event follows, after the bytes before this one were passed on.
        socket.destroy(error as Error);
      }
      return bytes.length;
    },
    finish() {
      // Completes a response without a length.
      parser.finish();
      onFinish(new errors.SocketError('the upstream closed the connection'));
    },
    resume: parser.resume,
  });

  return {
    push: reader.push,
    pause(): void {
      parser.pause();
      reader.pause();
    },
    resume: (): void => reader.resume(() => request()?.paused === false),
    /** Stops reading. The socket is closed, or belongs to another owner from here on. */
    detach(): void {
      reader.detach();
      parser.free();
    },
  };
}

/** An idle connection is kept for this time if the upstream does not say. */
const DEFAULT_MS = 4_000;

/** The upstream may start to count earlier, and its response takes time to arrive. */
const MARGIN_MS = 2_000;

const MAX_MS = 600_000;

const NO_CONTENT = 204;
const NOT_MODIFIED = 304;

/**
 * Finds how long a connection may stay idle after a response with these headers. With 0 it is not reused.
 * @see RFC 9112 section 9.3
 */
export function keepAliveMs(status: number, headers: readonly string[], minorVersion = 1): number {
  let idleMs = DEFAULT_MS;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    if (isHeader(name, 'keep-alive')) idleMs = hintedMs(value) ?? idleMs;
    else if (hasNoBody(status) && announcesBody(name, value)) return 0;
    // HTTP/1.0 has no transfer codings, so the sender may see another end of the response (RFC 9112 section 6.1).
    else if (minorVersion === 0 && isHeader(name, 'transfer-encoding')) return 0;
  }
  return idleMs;
}

function hasNoBody(status: number): boolean {
  return status === NO_CONTENT || status === NOT_MODIFIED;
}

/** An upstream that announces a body may still send it, and it would be read as the next response. */
function announcesBody(name: string, value: string): boolean {
  return isHeader(name, 'transfer-encoding') || (isHeader(name, 'content-length') && value !== '0');
}

/** The timeout in a `Keep-Alive` header, less the margin. */
function hintedMs(value: string): number | undefined {
  const seconds = /\btimeout=(\d+)/i.exec(value)?.[1];
  return seconds === undefined ? undefined : Math.max(0, Math.min(Number(seconds) * 1000, MAX_MS) - MARGIN_MS);
}
