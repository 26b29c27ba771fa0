import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { createDropCount } from './drop-count.ts';

/**
 * Bounds the connections of a server whose requests are short. A new connection takes the place of the oldest one, so that
 * clients which send nothing cannot keep others out.
 * @param onDropped called at most every ten seconds, with the number of connections dropped since the last call
 */
export function displaceConnections(
  server: Server,
  max: number,
  onDropped: (count: number) => void,
): { readonly counts: { readonly open: number; readonly dropped: number } } {
  /** The oldest first. */
  const open = new Set<Socket>();
  const drops = createDropCount(onDropped);

  function drop(socket: Socket): void {
    open.delete(socket);
    socket.destroy();
    drops.add();
  }

  server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    const [oldest] = open;
    if (open.size > max && oldest !== undefined) drop(oldest);
  });
  return {
    counts: {
      get open() {
        return open.size;
      },
      get dropped() {
        return drops.dropped;
      },
    },
  };
}
