import { connect, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Certificate } from './certificates.ts';
import { closeServer, listen } from './http-server.ts';

/** TLS before a server that speaks none, on which a connection takes as long as a test says. */
export interface SlowTls {
  url: string;
  /** For the next connections, one each; after them none waits. */
  delaysMs: number[];
  /** As many connections are closed as soon as they are made. */
  closedAtOnce: number;
  close(): Promise<void>;
}

/** @param port of the server behind it */
export async function startSlowTls(port: number, { key, cert }: Certificate): Promise<SlowTls> {
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
    const timer = setTimeout(() => tls.emit('connection', socket), slow.delaysMs.shift() ?? 0);
    socket.once('close', () => clearTimeout(timer));
  });
  const address = await listen(server);
  const slow: SlowTls = {
    url: `https://localhost:${address.port}`,
    delaysMs: [],
    closedAtOnce: 0,
    close: () => {
      const closed = closeServer(server);
      for (const socket of sockets) socket.destroy();
      return closed;
    },
  };
  return slow;
}
