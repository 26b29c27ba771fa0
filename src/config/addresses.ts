import { isIPv4 } from 'node:net';
import type { Listen } from './config.ts';
import type { Reading } from './config-node.ts';

/** Longest path of a Unix socket on Linux, in bytes, less its terminator. */
const MAX_SOCKET_PATH_BYTES = 107;

export const LISTEN_FORM = 'must be host:port, as in 127.0.0.1:8180, [::1]:8180 or 0.0.0.0:8180, or unix:/path';

/** Reads `host:port`, `[::1]:8180` or `unix:/path`. Port 0 is any free one. */
export function readListen(text: string): Reading<Listen> {
  if (text.startsWith('unix:')) return readUnix(text.slice('unix:'.length));
  const [, host, digits] = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/.exec(text) ?? [];
  if (host === undefined || digits === undefined) return { problem: LISTEN_FORM };
  const port = Number(digits);
  if (port > 65_535) return { problem: 'has a port that is none: it must be 65535 at most' };
  const looksNumeric = /^[\d.]+$/.test(host);
  if ((looksNumeric && !isIPv4(host)) || !URL.canParse(`http://${host}`))
    return { problem: 'has no usable host: check it' };
  const bare = host.startsWith('[') ? new URL(`http://${host}`).hostname.slice(1, -1) : host.toLowerCase();
  return { value: { kind: 'tcp', host: bare, port } };
}

function readUnix(path: string): Reading<Listen> {
  if (!path.startsWith('/') || path.endsWith('/') || path.includes('\0')) {
    return { problem: 'must be unix: and the absolute path of a socket, as in unix:/run/cambist/proxy.sock' };
  }
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    return { problem: `must be ${MAX_SOCKET_PATH_BYTES} bytes at most: that is all a socket path can hold` };
  }
  return { value: { kind: 'unix', path } };
}

/** Would the second listener find its address taken by the first? */
export function collide(one: Listen, other: Listen): boolean {
  if (one.kind === 'unix' || other.kind === 'unix') {
    return one.kind === 'unix' && other.kind === 'unix' && one.path === other.path;
  }
  if (one.port === 0 || one.port !== other.port) return false;
  const wildcard = (host: string) => host === '0.0.0.0' || host === '::';
  const plain = (host: string) => (host === 'localhost' ? '127.0.0.1' : host);
  return wildcard(one.host) || wildcard(other.host) || plain(one.host) === plain(other.host);
}

/** Loopback as a URL has it. A wildcard takes it, too; another machine may have the name that a pod has for itself. */
const LOOPBACK: ReadonlySet<string> = new Set(['127.0.0.1', '[::1]', 'localhost']);

/** Does plain http to this origin, from here, come to the listener? Says no where it cannot know. */
export function leadsTo(listen: Listen, origin: string): boolean {
  const { protocol, hostname, port } = new URL(origin);
  if (listen.kind === 'unix' || protocol !== 'http:' || !LOOPBACK.has(hostname)) return false;
  const host = hostname.replace(/^\[|\]$/g, '');
  return collide(listen, { kind: 'tcp', host, port: Number(port || 80) });
}
