import { BlockList } from 'node:net';

/** A host as URLs and `Host` have it: an IPv6 address in brackets. @param host a name, or an address without brackets */
export function withBrackets(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** A host as sockets and certificates have it: an IPv6 address without brackets. */
export function withoutBrackets(host: string): string {
  return host.startsWith('[') ? host.slice(1, -1) : host;
}

/** The place that a socket connects to. An IPv6 address has no brackets. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** Where a URL with `http` or `https` leads. */
export function endpointOf({ protocol, hostname, port }: URL): Endpoint {
  return { host: withoutBrackets(hostname), port: Number(port || (protocol === 'https:' ? 443 : 80)) };
}

/** Names that `/etc/hosts` of common distributions gives to loopback. */
const NAMES: ReadonlySet<string> = new Set([
  ...['localhost', 'localhost.localdomain', 'localhost4', 'localhost4.localdomain4', 'localhost6'],
  ...['localhost6.localdomain6', 'ip6-localhost', 'ip6-loopback'],
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

/** Does a listener on this host accept connections on all addresses? @param host as in `Listen` */
export function isEveryAddress(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** Suffixes of names inside the cluster or machine. No public DNS server has them, and plain http to them stays inside. */
const INTERNAL_SUFFIXES = ['.svc', '.svc.cluster.local', '.local', '.internal', '.localhost'];

/**
 * Tells whether public DNS can have this name. Its owner could then point it at cambist's address (DNS rebinding).
 * @param host lower case, without port; IPv6 in brackets
 */
export function isPublicName(host: string): boolean {
  return !isAddress(host) && !isInternalName(host);
}

/**
 * Tells whether another machine can choose what this name resolves to: in public DNS, or by multicast DNS (`.local`, RFC 6762),
 * LLMNR and DHCP in the local network. A web page there could use DNS rebinding. Other names of loopback, such as `ip6-localhost`,
 * count as well, because not every system has them in `/etc/hosts`.
 * @param host lower case, without port; IPv6 in brackets
 * @see RFC 6761 section 6.3 for `localhost`
 */
export function isForeignName(host: string): boolean {
  return !isAddress(host) && host !== 'localhost' && !host.endsWith('.localhost');
}

/**
 * Tells whether a URL with this host may be plain http: loopback and cluster-internal names, of one label or with a known suffix.
 * @param hostname as in `URL.hostname`: lower case, IPv6 in brackets
 */
export function mayUsePlainHttp(hostname: string): boolean {
  if (isAddress(hostname)) return hostname === '[::1]' || hostname.startsWith('127.');
  return isInternalName(hostname);
}

function isAddress(host: string): boolean {
  return host.startsWith('[') || /^\d+\.\d+\.\d+\.\d+$/.test(host);
}

function isInternalName(host: string): boolean {
  return !host.includes('.') || INTERNAL_SUFFIXES.some((suffix) => host.endsWith(suffix));
}
