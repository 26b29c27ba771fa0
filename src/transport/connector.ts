import { isIP, type Socket } from 'node:net';
import { buildConnector, errors } from 'undici';
import { withoutBrackets } from '../host-names.ts';

/** Connects to an origin, with TLS if it is https. */
export type Connect = (origin: URL, connected: buildConnector.Callback) => void;

export type ConnectorOptions = buildConnector.BuildOptions & {
  /** Returns why a connection that has just opened must not be used. Asked before TLS. Undefined: it may be used. */
  readonly refuse?: ((socket: Socket) => Error | undefined) | undefined;
};

/** The connector returns its socket at once, although undici's types do not say so. `undici-internals.test.ts` checks it. */
type SocketConnector = (...options: Parameters<buildConnector.connector>) => Socket;

/** @param options for TLS and sockets, and the timeout for connecting */
export function createConnector({ refuse, ...options }: ConnectorOptions) {
  const connectSocket = buildConnector(options) as SocketConnector;
  const connecting = new Set<Socket>();
  const hasPath = options.socketPath !== undefined;
  return {
    connect({ host, hostname, protocol, port }: URL, connected: buildConnector.Callback): void {
      // Only URLs put brackets around an IPv6 address.
      const name = withoutBrackets(hostname);
      try {
        let isResolved = isIP(name) > 0 || hasPath;
        const socket = connectSocket({ host, hostname: name, protocol, port }, (...result) => {
          connecting.delete(socket);
          const [error] = result;
          if (!isResolved && error instanceof errors.ConnectTimeoutError) connected(unresolved(name, error), null);
          else connected(...result);
        });
        connecting.add(socket);
        if (!isResolved) {
          socket.once('lookup', () => {
            isResolved = true;
          });
        }
        if (refuse !== undefined) {
          socket.prependOnceListener('connect', () => {
            const error = refuse(socket);
            if (error !== undefined) socket.destroy(error);
          });
        }
      } catch (error) {
        // Thrown for invalid TLS options.
        connected(error as Error, null);
      }
    },
    /** Destroys the sockets that are still connecting. Their callbacks get the error. */
    destroy(error: Error): void {
      for (const socket of connecting) socket.destroy(error);
    },
  };
}

/** Otherwise a timeout looks as if the peer did not respond, although it was never found. */
function unresolved(name: string, cause: Error): NodeJS.ErrnoException {
  return Object.assign(new Error(`DNS did not respond in time for ${name}`, { cause }), { code: 'EAI_AGAIN' });
}
