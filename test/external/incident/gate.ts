import { connect, createServer, type Socket } from 'node:net';
import { closeServer, listen } from '../../harness/http-server.ts';

/** A way to a server that can be shut, and opened again at the same place, while the server itself stays as it is. */
export interface Gate {
  readonly url: string;
  /** Ends what is open and lets nobody in. */
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
