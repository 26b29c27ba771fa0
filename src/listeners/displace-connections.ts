import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { createDropCount } from './drop-count.ts';

/**
 * Bounds the connections of a server whose requests are short. A new connection takes the place of the oldest one, so that
 * clients which send nothing cannot keep others out. Connections whose request is complete go last, up to half of all.
 * @param onDropped called at most every ten seconds, with the number of connections dropped since the last call
 */
export function displaceConnections(
  server: Server,
  max: number,
  onDropped: (count: number) => void,
): { readonly counts: { readonly open: number; readonly dropped: number } } {
  /** The oldest first. */
  const open = new Set<Socket>();
  /** Those whose request is complete and not answered, in the order of their requests. */
  const busy = new Set<Socket>();
  const drops = createDropCount(onDropped);

  function drop(socket: Socket): void {
    open.delete(socket);
    busy.delete(socket);
    socket.destroy();
    drops.add();
  }

  /** More busy connections than half would push out new clients before these can send a request. */
  function nextToDrop(): Socket | undefined {
    const [oldestBusy] = busy;
    return busy.size > max / 2 ? oldestBusy : [...open].find((socket) => !busy.has(socket));
  }

  server.on('connection', (socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    if (open.size > max) drop(nextToDrop() ?? socket);
  });
  /** With TLS, the socket of a request is another object than that of its connection, and has the same peer. */
  function connectionOf(socket: Socket): Socket | undefined {
    if (open.has(socket)) return socket;
    const { remoteAddress, remotePort } = socket;
    return [...open].find((one) => one.remotePort === remotePort && one.remoteAddress === remoteAddress);
  }

  server.on('request', (request, response) => {
    const socket = connectionOf(request.socket);
    if (socket === undefined) return;
    request.once('end', () => open.has(socket) && busy.add(socket));
    response.once('close', () => busy.delete(socket));
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
