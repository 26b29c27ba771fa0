import type { Socket } from 'node:net';
import { errors } from 'undici';
import { createResponseReader } from './response-reader.ts';
import type { UpstreamRequest } from './upstream-request.ts';
import {
  type EncodedRequest,
  encodeRequest,
  isBuffered,
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

/** One connection to an upstream. It carries one request at a time. */
export type Connection = ReturnType<typeof createConnection>;

/**
 * @param socket is connected. If it reads into a shared buffer, it emits no `data`, and `read` is called instead
 * @param host of the origin, for example `mcp.example.com:8443`
 * @see RFC 9112
 */
export function createConnection(socket: Socket, host: string, { onIdle, onClose }: ConnectionEvents) {
  let request: UpstreamRequest | undefined;
  const sender = createRequestSender(socket, fail);
  const reader = createResponseReader(socket, {
    request: () => request,
    isSent: sender.isSent,
    onHeaders: sender.stopTimer,
    onEnd: end,
    onSwitch: handOver,
    onFinish: fail,
  });

  function end(ended: UpstreamRequest, idleMs: number): void {
    request = undefined;
    const isReusable = idleMs > 0 && sender.allowsReuse();
    if (!isReusable) socket.destroy();
    ended.end();
    if (isReusable) onIdle(idleMs);
  }

  function fail(error: Error): void {
    const failed = request;
    carrier.abort();
    failed?.fail(error);
  }

  function close(): void {
    fail(new errors.SocketError('the connection has closed'));
    reader.detach();
    onClose();
  }

  /** Gives the socket to the handler, which speaks another protocol on it. */
  function handOver(switched: UpstreamRequest, headers: string[], rest: Buffer): void {
    sender.stopTimer();
    request = undefined;
    socket.pause();
    reader.detach();
    socket.off('error', fail).off('close', close);
    socket.allowHalfOpen = false;
    if (rest.length > 0) socket.unshift(rest);
    onClose();
    switched.upgrade(headers, socket);
  }

  const carrier = {
    pause: reader.pause,
    resume: reader.resume,
    abort(): void {
      sender.stopTimer();
      request = undefined;
      socket.destroy();
    },
  };

  socket.on('error', fail).on('close', close);

  return {
    /** Sends a request. @returns false where the request ended before its first byte was sent: the connection is still idle */
    send(next: UpstreamRequest): boolean {
      try {
        const encoded = encodeRequest(next.options, host);
        if (!next.start(carrier)) return false;
        request = next;
        sender.send(next, encoded);
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

/** Writes requests, one after another, and limits the wait for the headers of each response. */
function createRequestSender(socket: Socket, fail: (error: Error) => void) {
  /** Its response has no headers yet. */
  let awaiting: UpstreamRequest | undefined;
  let headersTimer: NodeJS.Timeout | undefined;
  let isSent = true;
  /** The connection closes after this request, whatever the response says. */
  let isLast = false;

  function startTimer(sent: UpstreamRequest): void {
    const { headersTimeout } = sent.options;
    if (!headersTimeout || awaiting !== sent) return;
    headersTimer = setTimeout(() => fail(new errors.HeadersTimeoutError()), headersTimeout);
  }

  return {
    send(next: UpstreamRequest, encoded: EncodedRequest): void {
      awaiting = next;
      isLast = encoded.isLast;
      const content = (next.options.body ?? null) as RequestContent;
      if (content === null || isBuffered(content)) {
        sendBuffered(socket, encoded.text, content);
        startTimer(next);
        return;
      }
      isSent = false;
      const backpressure = { blocked: () => startTimer(next), unblocked: () => clearTimeout(headersTimer) };
      sendStreamed(socket, encoded, content, backpressure).then(() => {
        isSent = true;
        startTimer(next);
      }, fail);
    },
    /** The headers have arrived, or will not. */
    stopTimer(): void {
      awaiting = undefined;
      clearTimeout(headersTimer);
    },
    /** The socket has the whole request. */
    isSent: (): boolean => isSent,
    /** Another request may follow this one. */
    allowsReuse: (): boolean => isSent && !isLast,
  };
}
