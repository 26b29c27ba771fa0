import type { Socket } from 'node:net';
import { errors } from 'undici';
import type { Content } from '../pump.ts';
import { type AnswerReader, createAnswerParser } from './answer-parser.ts';
import { createIntake } from './intake.ts';
import { type RequestHead, requestHead } from './request-head.ts';
import { reusableMs } from './reuse.ts';
import { sendBitByBit, sendWhole } from './send-request.ts';
import type { UpstreamRequest } from './upstream-request.ts';

/** One connection to an upstream. It carries one request at a time. */
export interface Connection {
  /** Sends a request. @returns false where that ended before its first byte went out: the connection is free as it was */
  carry(request: UpstreamRequest): boolean;
  /** Takes what was read from the socket, which may be overwritten afterwards. */
  read(bytes: Buffer): void;
  isOpen(): boolean;
  /** Breaks off what it carries. */
  destroy(error: Error): void;
}

export interface ConnectionEvents {
  /**
   * It may carry another request, once all that has come by now was read: nobody has asked for that.
   * @param idleMs how long the upstream waits for one
   */
  readonly onFree: (idleMs: number) => void;
  /** It carries nothing any more, and never will. Called once. */
  readonly onClose: () => void;
}

/** Largest head that is read of an answer. */
const MAX_HEAD_BYTES = 64 * 1024;

const SWITCHING_PROTOCOLS = 101;

/**
 * @param socket is connected. One that reads into memory of its user's does not emit `data`: `read` is then called in its place
 * @param host of the origin, as in `mcp.example.com:8443`
 * @see RFC 9112
 */
export function createConnection(socket: Socket, host: string, { onFree, onClose }: ConnectionEvents): Connection {
  /** The one that it carries. */
  let request: UpstreamRequest | undefined;
  let isSent = true;
  /** The head of its answer was read. */
  let isAnswered = false;
  /** The request is the last, whatever its answer says. */
  let isLast = false;
  /** How long it may wait for the next request; 0 is not at all. */
  let idleMs = 0;
  let headTimer: NodeJS.Timeout | undefined;
  /** The head by which the upstream has taken another protocol. */
  let switched: string[] | undefined;

  const reader: AnswerReader = {
    begins: () => request !== undefined,
    head(status, headers) {
      const asked = carried();
      if (status === SWITCHING_PROTOCOLS) {
        if (!asked.options.upgrade) throw new errors.SocketError('the upstream has taken another protocol, unasked');
        // What is left of the request would go out in the other protocol (RFC 9110 section 7.8).
        if (!isSent) throw new errors.SocketError('the upstream has taken another protocol within the request');
        switched = headers;
        return 'another protocol';
      }
      // Not the answer yet, whether somebody waits for it or not (RFC 9110 section 15.2).
      if (status < 200) return 'nothing';
      clearTimeout(headTimer);
      isAnswered = true;
      idleMs = isLast ? 0 : reusableMs(status, headers);
      asked.answer(status, headers);
      carried();
      return asked.options.method === 'HEAD' ? 'nothing' : 'body';
    },
    body(bytes) {
      carried().data(Buffer.from(bytes));
      carried();
    },
    ends(keepsAlive) {
      if (isAnswered) end(carried(), keepsAlive);
    },
  };
  const parser = createAnswerParser(reader, MAX_HEAD_BYTES);

  /** @throws where its handler has given it up, so that no more is read */
  function carried(): UpstreamRequest {
    if (request === undefined) throw new errors.RequestAbortedError();
    return request;
  }

  const intake = createIntake(socket, {
    read(bytes) {
      try {
        const length = parser.read(bytes);
        if (switched === undefined) return length;
        handOver(switched, Buffer.from(bytes.subarray(length)));
      } catch (error) {
        // What came before it goes on first: `fail` hears of it by the socket.
        socket.destroy(error as Error);
      }
      return bytes.length;
    },
    finish() {
      // An answer without a length ends with its connection.
      parser.finish();
      fail(new errors.SocketError('the upstream has closed the connection'));
    },
    release: parser.release,
  });

  function end(answered: UpstreamRequest, keepsAlive: boolean): void {
    request = undefined;
    const isFree = keepsAlive && idleMs > 0 && isSent;
    if (!isFree) socket.destroy();
    answered.end();
    if (isFree) onFree(idleMs);
  }

  function fail(error: Error): void {
    clearTimeout(headTimer);
    const failed = request;
    request = undefined;
    socket.destroy();
    failed?.fail(error);
  }

  function close(): void {
    fail(new errors.SocketError('the connection has ended'));
    parser.free();
    onClose();
  }

  function handOver(headers: string[], rest: Buffer): void {
    const asked = carried();
    clearTimeout(headTimer);
    request = undefined;
    socket.pause();
    intake.leave();
    socket.off('error', fail).off('close', close);
    socket.allowHalfOpen = false;
    if (rest.length > 0) socket.unshift(rest);
    parser.free();
    onClose();
    asked.switchProtocol(headers, socket);
  }

  /** What the handler of a request may do to it. */
  const carrier = {
    hold(): void {
      parser.hold();
      intake.hold();
    },
    release: (): void => intake.release(() => request?.paused === false),
    breakOff(): void {
      clearTimeout(headTimer);
      request = undefined;
      socket.destroy();
    },
  };

  function expectHead(asked: UpstreamRequest): void {
    const { headersTimeout } = asked.options;
    if (!headersTimeout || isAnswered || request !== asked) return;
    headTimer = setTimeout(() => fail(new errors.HeadersTimeoutError()), headersTimeout);
  }

  function send(asked: UpstreamRequest, head: RequestHead): void {
    const content = (asked.options.body ?? null) as Content;
    if (content === null || Buffer.isBuffer(content)) {
      sendWhole(socket, head.text, content);
      expectHead(asked);
      return;
    }
    isSent = false;
    const flow = { stalled: () => expectHead(asked), flows: () => clearTimeout(headTimer) };
    sendBitByBit(socket, head, content, flow).then(() => {
      isSent = true;
      expectHead(asked);
    }, fail);
  }

  socket.on('error', fail).on('close', close);

  return {
    carry(next) {
      try {
        const head = requestHead(next.options, host);
        if (!next.start(carrier)) return false;
        request = next;
        isAnswered = false;
        isLast = head.isLast;
        send(next, head);
      } catch (error) {
        next.fail(error as Error);
        return false;
      }
      return true;
    },
    read: intake.push,
    // What was written by TLS is only known to have gone out a turn of the event loop after an answer may be there.
    isOpen: () => !socket.destroyed && socket.writableLength === 0,
    destroy: fail,
  };
}
