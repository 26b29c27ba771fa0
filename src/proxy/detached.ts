import { type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Connections that the HTTP server has let go of, and no longer closes when it closes. */
export interface DetachedSockets {
  add(socket: Duplex): void;
  /** Ends all at once; nothing is waited for. */
  destroyAll(): void;
}

export function createDetachedSockets(): DetachedSockets {
  const open = new Set<Duplex>();
  return {
    add(socket) {
      if (open.has(socket)) return;
      open.add(socket);
      // Whoever waits for the end of the connection hears of it by `close`.
      socket.on('error', () => socket.destroy());
      socket.once('close', () => open.delete(socket));
      socket.off('end', closeUnanswered);
    },
    destroyAll() {
      for (const socket of open) socket.destroy();
    },
  };
}

/**
 * Closes each connection whose caller has closed its side before its response was complete. Node ends such a connection as
 * well, but only once the caller has read what was written so far.
 */
export function closeUnansweredAtEnd(server: Server): void {
  server.on('connection', (socket) => socket.on('end', closeUnanswered));
}

function closeUnanswered(this: HttpSocket): void {
  if (this._httpMessage?.writableEnded === false) this.destroy();
}

/** `_httpMessage` is the response that is being sent. Node has no public name for it. */
type HttpSocket = Duplex & { _httpMessage?: ServerResponse | null };

/** A response on a connection that the HTTP server has let go of. The connection ends with it. */
export function responseOn(request: IncomingMessage, socket: Duplex): ServerResponse {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket as Parameters<ServerResponse['assignSocket']>[0]);
  socket.on('drain', () => response.emit('drain'));
  // `end` alone would leave it to the client when the connection, and with it the request, has ended.
  response.once('finish', () => (socket as Socket).destroySoon());
  return response;
}

/**
 * Is the answer to an earlier request still under way? What is written now would become a part of it. Node's own way to
 * know.
 */
export function isAnswering(socket: HttpSocket): boolean {
  return socket._httpMessage !== undefined && socket._httpMessage !== null;
}
