import { connect, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Certificate } from './certificates.ts';
import { closeServer, listen } from './http-server.ts';

/** Starts a TLS proxy in front of a plain server on this port. The test learns of each connection before it opens. */
export async function startSlowTls(port: number, { key, cert }: Certificate) {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
  };
  const tls = createTlsServer({ key, cert }, (near) => {
    if (slow.closedAtOnce > 0) {
      slow.closedAtOnce -= 1;
      near.end();
      return;
    }
    const far = connect(port, '127.0.0.1');
    keep(near);
    keep(far);
    near.once('close', () => far.destroy());
    far.once('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    keep(socket);
    slow.before.shift()?.();
    tls.emit('connection', socket);
  });
  const address = await listen(server);
  const slow = {
    url: `https://localhost:${address.port}`,
    /** Run before the next connections open, one each. */
    before: [] as (() => void)[],
    /** The number of next connections to close as soon as they are established. */
    closedAtOnce: 0,
    close: () => {
      const closed = closeServer(server);
      for (const socket of sockets) socket.destroy();
      return closed;
    },
  };
  return slow;
}
