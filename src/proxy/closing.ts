import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** Connections that close after a response. */
const closing = new WeakSet<Socket>();

/** The response to this request announces that its connection closes. */
export function announceClose({ socket }: IncomingMessage): void {
  closing.add(socket);
}

/**
 * Must this request stay unserved, because the response to an earlier one closes the connection? Its own response could not be sent,
 * and if the framing of the earlier request was refused, these bytes may be a part of that request.
 * @see RFC 9112 sections 6.1 and 9.6
 */
export function followsClose({ socket }: IncomingMessage): boolean {
  return closing.has(socket);
}
