import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from '../observability/logger.ts';

/** Node's error for bytes that it could not parse as a request. */
type ClientError = Error & { readonly code?: string; readonly rawPacket?: unknown };

/** The status of the response, and the message of the log. */
type ErrorResponse = readonly [status: number, message: string];

const RESPONSES: Readonly<Record<string, ErrorResponse>> = {
  HPE_HEADER_OVERFLOW: [431, 'request headers are larger than limits.max_header_size'],
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'timed out reading request headers'],
};
const MALFORMED: ErrorResponse = [400, 'received bytes that are not a valid HTTP request'];
const TLS: ErrorResponse = [400, 'received TLS on a plain http listener: let the agent call an http:// URL'];

/** The connection closed in the middle of a message. */
const CLOSED = 'HPE_INVALID_EOF_STATE';

/** The connection was reset, or its TLS failed. Where Node refuses a certificate, the code is that of a reset. */
const LOST = /^(?:ECONNRESET$|ERR_(?:SSL|TLS)_)/;

/** Longest time that the few bytes of the response take. */
const RESPONSE_MS = 1000;

/** The first byte of a TLS handshake (RFC 8446 section 5.1). */
export const TLS_HANDSHAKE = 0x16;

/**
 * Responds to input that is not a valid HTTP request, and closes the connection. The input is logged, and not counted.
 */
export function createClientErrorHandler(logger: Pick<Logger, 'warn'>) {
  return (error: ClientError, socket: Socket): void => {
    // No response is possible before a handshake is complete. The listener logs the failure.
    if (LOST.test(error.code ?? '') || !socket.writable || hasBegunResponse(socket)) {
      socket.destroy();
      return;
    }
    const [status, message] = responseTo(error);
    // A caller that leaves is not refused. If its request was complete, that request has a log line of its own.
    if (error.code !== CLOSED) logger.warn({ status }, message);
    const response = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
    socket.end(response, () => socket.destroy());
    // Over TLS, a write to a connection that was reset may neither finish nor fail.
    const giveUp = setTimeout(() => socket.destroy(), RESPONSE_MS);
    socket.once('close', () => clearTimeout(giveUp));
  };
}

function responseTo({ code = '', rawPacket }: ClientError): ErrorResponse {
  const isTls = rawPacket instanceof Uint8Array && rawPacket[0] === TLS_HANDSHAKE;
  return RESPONSES[code] ?? (isTls ? TLS : MALFORMED);
}

/** True while the response to an earlier request is being written: new headers would become part of it. Node checks the same field. */
function hasBegunResponse(socket: Socket & { _httpMessage?: ServerResponse | null }): boolean {
  return socket._httpMessage?.headersSent === true;
}
