import { BlockList, isIPv4 } from 'node:net';
import type { Reading } from '../documents/config-node.ts';

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

export interface TcpListen extends Endpoint {
  readonly kind: 'tcp';
  readonly tls?: ListenerTls;
}

/** TLS of a listener: its files, or the SVID of cambist. */
export type ListenerTls = ListenerFiles | 'spiffe';

/** Each file is PEM, and read again when it changes. */
export interface ListenerFiles {
  readonly certificate: string;
  readonly privateKey: string;
  readonly clientCa: string | undefined;
  /** Must clients have a certificate? Undefined without `clientCa`. */
  readonly clientCertificate: 'required' | 'optional' | undefined;
}

/** Do clients need a certificate? Undefined: none is requested. */
export function clientCertificateRule(tls: ListenerTls | undefined): ListenerFiles['clientCertificate'] {
  return tls === 'spiffe' ? 'required' : tls?.clientCertificate;
}

export type Listen = TcpListen | { readonly kind: 'unix'; readonly path: string };

/** Longest path of a Unix socket on Linux, in bytes without the terminator. */
const MAX_SOCKET_PATH_BYTES = 107;

export const LISTEN_FORM = 'must be host:port, as in 127.0.0.1:8180, [::1]:8180 or 0.0.0.0:8180, or unix:/path';

/** Reads `host:port`, `[::1]:8180` or `unix:/path`. Port 0 means any free port. */
export function readListen(text: string): Reading<Listen> {
  if (text.startsWith('unix:')) {
    const reading = readUnixSocket(text.slice('unix:'.length));
    return 'problem' in reading ? reading : { value: { kind: 'unix', path: reading.value } };
  }
  const [, host, digits] = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/.exec(text) ?? [];
  if (host === undefined || digits === undefined) return { problem: LISTEN_FORM };
  const port = Number(digits);
  if (port > 65_535) return { problem: 'invalid port: must be at most 65535' };
  const looksNumeric = /^[\d.]+$/.test(host);
  if ((looksNumeric && !isIPv4(host)) || !URL.canParse(`http://${host}`))
    return { problem: 'invalid host: check its spelling' };
  const bare = host.startsWith('[') ? withoutBrackets(new URL(`http://${host}`).hostname) : host.toLowerCase();
  return { value: { kind: 'tcp', host: bare, port } };
}

function readUnixSocket(path: string): Reading<string> {
  if (!path.startsWith('/') || path.endsWith('/') || path.includes('\0')) {
    return { problem: 'must be "unix:" and the absolute path of a socket, as in unix:/run/cambist/proxy.sock' };
  }
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    return { problem: `the socket path must be at most ${MAX_SOCKET_PATH_BYTES} bytes long` };
  }
  return { value: path };
}

/** Tells whether two listeners cannot both open their addresses. */
export function collide(one: Listen, other: Listen): boolean {
  if (one.kind === 'unix' || other.kind === 'unix') {
    return one.kind === 'unix' && other.kind === 'unix' && one.path === other.path;
  }
  if (one.port === 0 || one.port !== other.port) return false;
  const plain = (host: string) => (host === 'localhost' ? '127.0.0.1' : host);
  return isEveryAddress(one.host) || isEveryAddress(other.host) || plain(one.host) === plain(other.host);
}

/** Tells whether requests to this origin reach the listener. False if that is unknown. */
export function reaches(listen: Listen, origin: string): boolean {
  const url = new URL(origin);
  if (listen.kind === 'unix' || !isLoopback(url.hostname)) return false;
  if ((listen.tls === undefined) === (url.protocol === 'https:')) return false;
  return collide(listen, { kind: 'tcp', ...endpointOf(url) });
}

/** Can only this machine or pod connect to the listener? */
export function isLocal(listen: Listen): boolean {
  return listen.kind === 'unix' || (!isEveryAddress(listen.host) && isLoopback(withBrackets(listen.host)));
}
