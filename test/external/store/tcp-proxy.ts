import { createServer, connect as openSocket, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { closeServer, listen } from '../../harness/http-server.ts';
import type { Lifetime } from '../../harness/lifetime.ts';

/** A network between cambist and a server, which delays or loses what passes. */
export interface TcpProxy {
  readonly port: number;
  /** Milliseconds before a piece is passed on. */
  delayMs: number;
  /** True: connections are accepted, and nothing passes. */
  isSilent: boolean;
  /** Connections that were accepted so far. */
  readonly connections: number;
  /** Pieces that clients sent so far. */
  readonly sent: number;
  /** All bytes that passed, in both directions. */
  recorded(): Buffer;
  /** Breaks off every open connection. */
  cut(): void;
  /** Breaks off every connection, and refuses new ones. */
  close(): Promise<void>;
  /** Accepts connections again, on the same port. */
  reopen(): Promise<unknown>;
}

export async function startTcpProxy(t: Lifetime, targetPort: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  const pieces: Buffer[] = [];
  const link = (from: Socket, to: Socket, onPiece: () => void): void => {
    let passed: Promise<unknown> = Promise.resolve();
    sockets.add(from);
    from.on('data', (piece) => {
      onPiece();
      pieces.push(piece);
      if (proxy.isSilent) return;
      const due = proxy.delayMs > 0 ? delay(proxy.delayMs) : undefined;
      passed = passed.then(() => due).then(() => void to.write(piece));
    });
    from.on('error', () => to.destroy());
    from.once('close', () => {
      sockets.delete(from);
      to.destroy();
    });
  };
  const server = createServer((client) => {
    proxy.connections += 1;
    const target = openSocket(targetPort, '127.0.0.1');
    link(client, target, () => {
      proxy.sent += 1;
    });
    link(target, client, () => {});
  });
  const { port } = await listen(server);
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const proxy = {
    port,
    delayMs: 0,
    isSilent: false,
    connections: 0,
    sent: 0,
    recorded: () => Buffer.concat(pieces),
    cut,
    close: async () => {
      cut();
      await closeServer(server);
    },
    reopen: () => listen(server, port),
  };
  t.after(proxy.close);
  return proxy;
}
