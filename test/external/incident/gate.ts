import { connect, createServer, type Socket } from 'node:net';
import { closeServer, listen } from '../../harness/http-server.ts';

/** A TCP proxy before a server. It can be closed, and reopened on the same port, while the server keeps running. */
export interface Gate {
  readonly url: string;
  /** Closes all connections and refuses new ones. */
  shut(): Promise<void>;
  reopen(): Promise<void>;
}

export async function openGate(behind: string): Promise<Gate> {
  const { hostname, port: portBehind } = new URL(behind);
  const sockets = new Set<Socket>();
  let server = serve();
  const { port } = await listen(server);

  function serve() {
    return createServer((near) => {
      const far = connect(Number(portBehind), hostname);
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(one);
        one.pipe(other);
        one.on('error', () => other.destroy());
        one.once('close', () => {
          sockets.delete(one);
          other.destroy();
        });
      }
    });
  }

  return {
    url: `http://127.0.0.1:${port}`,
    shut: () => {
      for (const socket of sockets) socket.destroy();
      return closeServer(server);
    },
    reopen: async () => {
      server = serve();
      await listen(server, port);
    },
  };
}
