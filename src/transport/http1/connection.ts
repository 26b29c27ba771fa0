import type { Socket } from 'node:net';
import { errors } from 'undici';
import { createResponseParser, type ResponseEvents } from './response-parser.ts';
import { createSocketReader } from './sockets.ts';
import type { UpstreamRequest } from './upstream-request.ts';
import {
  type EncodedRequest,
  encodeRequest,
  isBuffered,
  isHeader,
  type RequestContent,
  sendBuffered,
  sendStreamed,
} from './write-request.ts';

interface ConnectionEvents {
  /**
   * The connection can carry another request as soon as everything received so far was read: bytes that follow the response are
   * unexpected.
   * @param idleMs how long it may stay idle
   */
  readonly onIdle: (idleMs: number) => void;
  /** The connection carries no request, and will not. Called once. */
  readonly onClose: () => void;
}

/** Limit for the headers of a response. */
const MAX_HEADER_BYTES = 64 * 1024;

const SWITCHING_PROTOCOLS = 101;

/** One connection to an upstream. It carries one request at a time. */
export type Connection = ReturnType<typeof createConnection>;

/**
 * @param socket is connected. If it reads into a shared buffer, it emits no `data`, and `read` is called instead
 * @param host of the origin, for example `mcp.example.com:8443`
 * @see RFC 9112
 */
export function createConnection(socket: Socket, host: string, { onIdle, onClose }: ConnectionEvents) {
  let request: UpstreamRequest | undefined;
  let isSent = true;
  let hasResponseStarted = false;
  /** The connection closes after this request, whatever the response says. */
  let isLast = false;
  /** The connection may stay idle for this time. With 0 it is not reused. */
  let idleMs = 0;
  let headersTimer: NodeJS.Timeout | undefined;
  /** Headers of a 101 response. */
  let upgradeHeaders: string[] | undefined;

  const events: ResponseEvents = {
    isExpected: () => request !== undefined,
    headers(status, headers, minorVersion) {
      const active = activeRequest();
      if (status === SWITCHING_PROTOCOLS) {
        if (!active.options.upgrade)
          throw new errors.SocketError('the upstream switched protocols without being asked');
        // The rest of the request would be sent in the other protocol (RFC 9110 section 7.8).
        if (!isSent) throw new errors.SocketError('the upstream switched protocols before it had the whole request');
        upgradeHeaders = headers;
        return 'another protocol';
      }
      // Interim responses are dropped, although RFC 9110 section 15.2 wants them forwarded: no MCP client reads one.
      if (status < 200) return 'no body';
      clearTimeout(headersTimer);
      hasResponseStarted = true;
      idleMs = isLast ? 0 : keepAliveMs(status, headers, minorVersion);
      active.startResponse(status, headers);
      activeRequest();
      return active.options.method === 'HEAD' ? 'no body' : 'body';
    },
    body(bytes) {
      activeRequest().data(Buffer.from(bytes));
      activeRequest();
    },
    end(keepsAlive) {
      if (hasResponseStarted) end(activeRequest(), keepsAlive);
    },
  };
  const parser = createResponseParser(events, MAX_HEADER_BYTES);

  /** @throws {errors.RequestAbortedError} where the handler aborted the request, so that reading stops */
  function activeRequest(): UpstreamRequest {
    if (request === undefined) throw new errors.RequestAbortedError();
    return request;
  }

  const reader = createSocketReader(socket, {
    read(bytes) {
      try {
        const length = parser.read(bytes);
        if (upgradeHeaders === undefined) return length;
        handOver(upgradeHeaders, Buffer.from(bytes.subarray(length)));
      } catch (error) {
        // `fail` follows by the socket's `error` event, after the bytes before this one were passed on.
        socket.destroy(error as Error);
      }
      return bytes.length;
    },
    finish() {
      // Completes a response without a length.
      parser.finish();
      fail(new errors.SocketError('the upstream closed the connection'));
    },
    resume: parser.resume,
  });

  function end(ended: UpstreamRequest, keepsAlive: boolean): void {
    request = undefined;
    const isReusable = keepsAlive && idleMs > 0 && isSent;
    if (!isReusable) socket.destroy();
    ended.end();
    if (isReusable) onIdle(idleMs);
  }

  function fail(error: Error): void {
    clearTimeout(headersTimer);
    const failed = request;
    request = undefined;
    socket.destroy();
    failed?.fail(error);
  }

  function close(): void {
    fail(new errors.SocketError('the connection has closed'));
    parser.free();
    onClose();
  }

  /** Gives the socket to the handler, which speaks another protocol on it. */
  function handOver(headers: string[], rest: Buffer): void {
    const active = activeRequest();
    clearTimeout(headersTimer);
    request = undefined;
    socket.pause();
    reader.detach();
    socket.off('error', fail).off('close', close);
    socket.allowHalfOpen = false;
    if (rest.length > 0) socket.unshift(rest);
    parser.free();
    onClose();
    active.upgrade(headers, socket);
  }

  const carrier = {
    pause(): void {
      parser.pause();
      reader.pause();
    },
    resume: (): void => reader.resume(() => request?.paused === false),
    abort(): void {
      clearTimeout(headersTimer);
      request = undefined;
      socket.destroy();
    },
  };

  function startHeadersTimer(sent: UpstreamRequest): void {
    const { headersTimeout } = sent.options;
    if (!headersTimeout || hasResponseStarted || request !== sent) return;
    headersTimer = setTimeout(() => fail(new errors.HeadersTimeoutError()), headersTimeout);
  }

  function write(sent: UpstreamRequest, encoded: EncodedRequest): void {
    const content = (sent.options.body ?? null) as RequestContent;
    if (content === null || isBuffered(content)) {
      sendBuffered(socket, encoded.text, content);
      startHeadersTimer(sent);
      return;
    }
    isSent = false;
    const backpressure = { blocked: () => startHeadersTimer(sent), unblocked: () => clearTimeout(headersTimer) };
    sendStreamed(socket, encoded, content, backpressure).then(() => {
      isSent = true;
      startHeadersTimer(sent);
    }, fail);
  }

  socket.on('error', fail).on('close', close);

  return {
    /** Sends a request. @returns false where the request ended before its first byte was sent: the connection is still idle */
    send(next: UpstreamRequest): boolean {
      try {
        const encoded = encodeRequest(next.options, host);
        if (!next.start(carrier)) return false;
        request = next;
        hasResponseStarted = false;
        isLast = encoded.isLast;
        write(next, encoded);
      } catch (error) {
        next.fail(error as Error);
        return false;
      }
      return true;
    },
    /** Receives bytes that were read from the socket. They may be overwritten afterwards. */
    read: reader.push,
    // TLS reports a write as done one turn of the event loop after the response may have arrived.
    isOpen: (): boolean => !socket.destroyed && socket.writableLength === 0,
    destroy: fail,
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
