import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connectionEvent } from '../listeners/idle-connection.ts';

/** Connections that the HTTP server has released, and does not close when it closes. */
export type DetachedSockets = ReturnType<typeof createDetachedSockets>;

export function createDetachedSockets() {
  const open = new Set<Duplex>();
  return {
    add(socket: Duplex): void {
      if (open.has(socket)) return;
      open.add(socket);
      // Every reader of the connection listens for `close`.
      socket.on('error', () => socket.destroy());
      socket.once('close', () => open.delete(socket));
      socket.off('end', closeUnanswered);
    },
    destroyAll(): void {
      for (const socket of open) socket.destroy();
    },
  };
}

/**
 * Closes each connection whose caller has closed its side before its response was complete. Node ends such a connection as
 * well, but only once the caller has read what was written so far.
 */
export function closeUnansweredAtEnd(server: Server): void {
  // The server gets a connection again after a request that offered another protocol.
  server.on(connectionEvent(server), (socket: Duplex) => socket.off('end', closeUnanswered).on('end', closeUnanswered));
}

function closeUnanswered(this: HttpSocket): void {
  if (this._httpMessage?.writableEnded === false) this.destroy();
}

/** `_httpMessage` is the response that is being sent. Node has no public name for it. */
type HttpSocket = Duplex & { _httpMessage?: ServerResponse | null };

/** A response on a connection that the HTTP server has released. The connection closes after it. */
export function responseOn(request: IncomingMessage, socket: Duplex): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket as Parameters<ServerResponse['assignSocket']>[0]);
  // After `end` alone the client would decide when the connection closes.
  response.once('finish', () => (socket as Socket).destroySoon());
  return response;
}

/** True while the response to an earlier request is being written: new bytes would become part of it. */
export function isResponding(socket: HttpSocket): boolean {
  return socket._httpMessage !== undefined && socket._httpMessage !== null;
}
