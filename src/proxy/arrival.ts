import type { Duplex } from 'node:stream';
import type { WayIn } from '../observability/proxy-observer.ts';

/** How a connection got here that its agent did not open to cambist's own URL. */
export interface Arrival {
  readonly wayIn: WayIn;
  /** The host that the certificate of this connection names: no request on it is for another. Undefined without TLS. */
  readonly host: string | undefined;
  /** Set by the first request. */
  isUsed: boolean;
}

/** A request reads it from its connection without a function call. */
export const ARRIVAL = Symbol('arrival');

export interface Arrived {
  [ARRIVAL]?: Arrival;
}

export function setArrival(socket: Duplex & Arrived, wayIn: WayIn, host: string | undefined): void {
  socket[ARRIVAL] = { wayIn, host, isUsed: false };
}
