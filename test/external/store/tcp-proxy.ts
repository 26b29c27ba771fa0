import { createServer, connect as openSocket, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { closeServer, freePort, listen } from '../../harness/http-server.ts';
import type { Lifetime } from '../../harness/lifetime.ts';

export type TcpProxy = Awaited<ReturnType<typeof startTcpProxy>>;

/** A network between cambist and a server, which delays or loses what passes. */
export async function startTcpProxy(t: Lifetime, targetPort: number) {
  const sockets = new Set<Socket>();
  const pieces: Buffer[] = [];
  const link = (from: Socket, to: Socket): void => {
    let passed: Promise<unknown> = Promise.resolve();
    sockets.add(from);
    from.on('data', (piece) => {
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
    const target = openSocket(targetPort, '127.0.0.1');
    link(client, target);
    link(target, client);
  });
  const { port } = await listen(server, await freePort());
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const proxy = {
    port,
    /** Milliseconds before a piece is passed on. */
    delayMs: 0,
    /** True: connections are accepted, and nothing passes. */
    isSilent: false,
    /** All bytes that passed, in both directions. */
    recorded: () => Buffer.concat(pieces),
    /** Breaks off every open connection. */
    cut,
    /** Breaks off every connection, and refuses new ones. */
    close: async (): Promise<void> => {
      cut();
      await closeServer(server);
    },
    /** Accepts connections again, on the same port. */
    reopen: () => listen(server, port),
  };
  t.after(proxy.close);
  return proxy;
}
