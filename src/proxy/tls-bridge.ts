import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { WayIn } from '../observability/proxy-observer.ts';

export interface TlsArrival {
  /** The host that the agent connects to, in the form of routes: lower case, an IPv6 address in brackets. */
  readonly host: string;
  readonly wayIn: WayIn;
  readonly userAgent: string | undefined;
  /** The name in the ClientHello, if that was read already. */
  readonly serverName?: string;
}

export interface TlsBridge {
  /**
   * Takes a connection whose first bytes wait to be read. It is closed unless its handshake is for the host.
   * @param serve called once the handshake is complete
   */
  accept(socket: Socket, arrival: TlsArrival, serve: (secure: TLSSocket) => void): void;
}
