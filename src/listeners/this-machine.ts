import type { AddressInfo } from 'node:net';
import { withBrackets } from '../host-names.ts';

/**
 * Is the peer of a connection on this machine or pod? False if the address is unknown, as after a reset of the connection.
 * @param address `remoteAddress` of a socket
 */
export function isLoopbackPeer(address: string | undefined): boolean {
  if (address === undefined) return false;
  return address === '::1' || address.replace(/^::ffff:/, '').startsWith('127.');
}

/**
 * Is the sender of a request on this machine or pod? Only this machine can reach a Unix socket, whose peers have no address.
 * @param listening `address()` of the server
 */
export function isLocalSender(remoteAddress: string | undefined, listening: AddressInfo | string | null): boolean {
  return typeof listening === 'string' || isLoopbackPeer(remoteAddress);
}

const REACHABLE: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
  ['localhost', '127.0.0.1'],
]);

/** The host at which this machine reaches a listener. @param host as in `Listen` */
export function reachableHost(host: string): string {
  return REACHABLE.get(host) ?? host;
}

/** The same as a URL has it: an IPv6 address in brackets. @param host as in `Listen` */
export function reachableUrlHost(host: string): string {
  return withBrackets(reachableHost(host));
}
