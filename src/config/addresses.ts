import { isIPv4 } from 'node:net';
import { type ConfigNode, formatPath, type Reading, valueOrReport } from './config-node.ts';
import { isEveryAddress, isLoopback, withBrackets, withoutBrackets } from './hostnames.ts';

export interface TcpListen {
  readonly kind: 'tcp';
  readonly host: string;
  readonly port: number;
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

/** Reads the path of a Unix socket. */
export function readUnixSocket(path: string): Reading<string> {
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

/**
 * Reads the address of a listener, and reports one that another listener has.
 * @param listeners those that have been read, by key
 */
export function readFreeListen(
  text: string,
  node: ConfigNode,
  { listeners }: { readonly listeners: Map<string, Listen> },
): Listen | undefined {
  const own = valueOrReport(readListen(text), node);
  if (own === undefined) return undefined;
  for (const [key, other] of listeners) {
    if (collide(own, other)) node.error(`has the same address as ${key}: change one`);
  }
  listeners.set(formatPath(node.path), own);
  return own;
}

/** Names of loopback in a URL. Other names of this machine are unknown here. */
const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost']);

/** Tells whether plain http to this origin reaches the listener. False if that is unknown. */
export function reaches(listen: Listen, origin: string): boolean {
  const { protocol, hostname, port } = new URL(origin);
  if (listen.kind === 'unix' || protocol !== 'http:' || !LOOPBACK.has(hostname)) return false;
  const host = withoutBrackets(hostname);
  return collide(listen, { kind: 'tcp', host, port: Number(port || 80) });
}

/** Can only this machine or pod connect to the listener? */
export function isLocal(listen: Listen): boolean {
  return listen.kind === 'unix' || (!isEveryAddress(listen.host) && isLoopback(withBrackets(listen.host)));
}
