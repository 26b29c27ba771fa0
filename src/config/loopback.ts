import { type AddressInfo, BlockList } from 'node:net';
import { withBrackets, withoutBrackets } from './brackets.ts';

/** Names that `/etc/hosts` of common distributions gives to loopback. */
const NAMES: ReadonlySet<string> = new Set([
  'localhost',
  'localhost.localdomain',
  'localhost4',
  'localhost4.localdomain4',
  'localhost6',
  'localhost6.localdomain6',
  'ip6-localhost',
  'ip6-loopback',
]);

/** Includes IPv4-mapped IPv6 addresses. Linux connects unspecified addresses to loopback. */
const ADDRESSES = new BlockList();
ADDRESSES.addSubnet('127.0.0.0', 8, 'ipv4');
ADDRESSES.addSubnet('0.0.0.0', 8, 'ipv4');
ADDRESSES.addAddress('::1', 'ipv6');
ADDRESSES.addAddress('::', 'ipv6');

/**
 * Tells whether the host of a URL is this machine or pod. Names are not resolved.
 * @param hostname `URL.hostname`: lower case, IPv4 in its usual form, IPv6 in brackets
 */
export function isLoopback(hostname: string): boolean {
  if (hostname.startsWith('[')) return ADDRESSES.check(withoutBrackets(hostname), 'ipv6');
  const name = hostname.replace(/\.$/, '');
  if (/^\d+\.\d+\.\d+\.\d+$/.test(name)) return ADDRESSES.check(name, 'ipv4');
  return NAMES.has(name) || name.endsWith('.localhost');
}

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

/** Does a listener on this host accept connections on all addresses? @param host as in `Listen` */
export function isEveryAddress(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
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
