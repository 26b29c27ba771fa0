import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from '../observability/logger.ts';

/** What Node says of bytes that it could not read as a request. */
type ClientError = Error & { readonly code?: string; readonly rawPacket?: unknown };

interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
}

/** Why Node could not read a request, where it deserves a status of its own; all else is 400. */
const REFUSALS: Readonly<Record<string, Refusal>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    reason: 'Request Header Fields Too Large',
    message: 'the head of a request is larger than limits.max_header_size',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    reason: 'Request Timeout',
    message: 'the head of a request did not come to its end',
  },
};
const NO_HTTP = { status: 400, reason: 'Bad Request', message: 'what came cannot be read as an HTTP request' };
const TLS = {
  ...NO_HTTP,
  message: 'what came is TLS, and the listener speaks plain http: let the agent call an http:// URL',
};

/** The connection has ended in the middle of a message. */
const ENDED = 'HPE_INVALID_EOF_STATE';

/** The first byte of a TLS handshake (RFC 8446 section 5.1). */
export const TLS_HANDSHAKE = 0x16;

/**
 * Answers what is no HTTP request and so never became one of ours; the connection ends with it. Nothing of what came is logged.
 */
export function createClientErrorHandler(logger: Pick<Logger, 'warn'>) {
  return (error: ClientError, socket: Socket): void => {
    if (error.code === 'ECONNRESET' || !socket.writable || hasBegunAnswer(socket)) {
      socket.destroy();
      return;
    }
    const { status, reason, message } = refusalOf(error);
    // A caller that leaves is refused nothing, and where it was a request already, that has a line of its own.
    if (error.code !== ENDED) logger.warn({ status }, message);
    const head = `HTTP/1.1 ${status} ${reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
    socket.end(head, () => socket.destroy());
  };
}

function refusalOf({ code = '', rawPacket }: ClientError): Refusal {
  const isTls = rawPacket instanceof Uint8Array && rawPacket[0] === TLS_HANDSHAKE;
  return REFUSALS[code] ?? (isTls ? TLS : NO_HTTP);
}

/** An answer to an earlier request is under way, and a second head would be taken for a part of it. Node's own way to know. */
function hasBegunAnswer(socket: Socket & { _httpMessage?: ServerResponse | null }): boolean {
  return socket._httpMessage?.headersSent === true;
}
