import { isIPv4 } from 'node:net';
import type { Reading } from '../documents/config-node.ts';
import { type Endpoint, endpointOf, isEveryAddress, isLoopback, withBrackets, withoutBrackets } from '../host-names.ts';

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
