import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { WayIn } from '../observability/proxy-observer.ts';

/** The way of a connection that its agent did not open to cambist's own URL. */
export interface Arrival {
  readonly wayIn: WayIn;
  /** The host that the certificate of this connection names: no request on it is for another. Undefined without TLS. */
  readonly host: string | undefined;
  /** The CONNECT that the connection came in. Its agent sends all requests on the connection. */
  readonly connect?: IncomingMessage | undefined;
  /** Set by the first request. */
  isUsed: boolean;
}

/** A request reads it from its connection without a function call. */
export const ARRIVAL = Symbol('arrival');

export interface Arrived {
  [ARRIVAL]?: Arrival;
}

export function setArrival(
  socket: Duplex & Arrived,
  wayIn: WayIn,
  host: string | undefined,
  connect?: IncomingMessage,
): void {
  socket[ARRIVAL] = { wayIn, host, connect, isUsed: false };
}

/** The report of a data plane about a request that it forwards itself. */
export interface ReportedBy {
  /** The form of the report over HTTP. Undefined: it came by gRPC. */
  readonly dialect?: Dialect;
  /** The route that the data plane names. Undefined: the route is found by host and path. */
  readonly routeName: string | undefined;
  /** The body is text, in which Envoy replaced invalid bytes. */
  readonly isText?: boolean;
}

/** The three ways in which a data plane asks by HTTP. */
export type Dialect = 'ext-authz' | 'forward-auth' | 'auth-request';

export interface TlsArrival {
  /** The host that the agent connects to, in the form of routes: lower case, an IPv6 address in brackets. */
  readonly host: string;
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
