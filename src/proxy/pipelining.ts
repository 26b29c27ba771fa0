import type { Socket } from 'node:net';
import type { Logger } from '../observability/logger.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { StallWatch } from './stall-watch.ts';

export interface Pipelining {
  /** Takes a request whose response waits for its turn on the connection. */
  add(request: ProxyRequest): void;
}

/** Requests of one connection that may wait for their turn. Common clients send one request at a time. */
const MAX_WAITING = 16;

export function createPipelining(watch: StallWatch, logger: Pick<Logger, 'warn'>): Pipelining {
  const waiting = new WeakMap<Socket, number>();

  /** @returns how many requests of the connection wait now */
  function count(socket: Socket, change: 1 | -1): number {
    const now = (waiting.get(socket) ?? 0) + change;
    waiting.set(socket, now);
    return now;
  }

  /** Node pauses the connection while long responses wait for their turn. */
  function watchEnd(request: ProxyRequest): void {
    const { socket } = request.incoming;
    watch.add({
      socket,
      isPaused: () => socket.isPaused(),
      isOver: () => request.isClosed,
      stallMs: () => request.stallMs(),
      onStall: () => request.abort('stall'),
    });
  }

  return {
    add(request) {
      const { socket } = request.incoming;
      socket.setMaxListeners(0);
      // Node closes no response that still waits for its turn when the connection closes.
      socket.once('close', () => request.end());
      request.onClosed(() => count(socket, -1));
      if (count(socket, 1) > MAX_WAITING && !socket.destroyed) {
        logger.warn({}, `more than ${MAX_WAITING} pipelined requests; closing the connection`);
        socket.destroy();
      } else {
        watchEnd(request);
      }
    },
  };
}
