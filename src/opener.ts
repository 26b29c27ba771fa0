import { buildConnector } from 'undici';

/** Opens a connection, by TLS where the origin is one of https. */
export type Open = (origin: URL, opened: buildConnector.Callback) => void;

/** @param options of TLS and sockets, and how long connecting may take */
export function createOpener(options: buildConnector.BuildOptions): Open {
  const connect = buildConnector(options);
  return ({ host, hostname, protocol, port }, opened) => {
    // A URL has an IPv6 address in brackets; nobody else has.
    const name = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
    try {
      connect({ host, hostname: name, protocol, port }, opened);
    } catch (error) {
      // Of what it was made with.
      opened(error as Error, null);
    }
  };
}
