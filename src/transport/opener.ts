import type { Socket } from 'node:net';
import { buildConnector } from 'undici';

/** Opens a connection, by TLS where the origin is one of https. */
export type Open = (origin: URL, opened: buildConnector.Callback) => void;

export interface Opener {
  readonly open: Open;
  /** Ends what still connects, and who waits for it is told so. */
  destroy(error: Error): void;
}

/** The socket is returned as soon as it connects, though undici's types do not say so. */
type Connect = (...asked: Parameters<buildConnector.connector>) => Socket;

/** @param options of TLS and sockets, and how long connecting may take */
export function createOpener(options: buildConnector.BuildOptions): Opener {
  const connect = buildConnector(options) as Connect;
  const connecting = new Set<Socket>();
  return {
    open({ host, hostname, protocol, port }, opened) {
      // A URL has an IPv6 address in brackets; nobody else has.
      const name = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
      try {
        const socket = connect({ host, hostname: name, protocol, port }, (...result) => {
          connecting.delete(socket);
          opened(...result);
        });
        connecting.add(socket);
      } catch (error) {
        // Of what it was made with.
        opened(error as Error, null);
      }
    },
    destroy(error) {
      for (const socket of connecting) socket.destroy(error);
    },
  };
}
