import { readHostPattern } from '../config/match.ts';
import { isPublicName, withoutBrackets } from '../host-names.ts';

/** The destination of a CONNECT. */
export interface Authority {
  /** In the form of routes and of `forward_proxy.connect`: lower case, an IPv6 address in brackets. */
  readonly host: string;
  readonly port: number;
}

/** Reads the target of a CONNECT. Undefined unless it is a host and a port. */
export function readAuthority(target: string): Authority | undefined {
  const [, host, port] = /^([A-Za-z0-9._-]{1,254}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})$/.exec(target) ?? [];
  if (host === undefined || port === undefined) return undefined;
  return { host: host.toLowerCase().replace(/\.$/, ''), port: Number(port) };
}

/** Tells whether the target of a CONNECT looks like a host, and not like a token in its place. */
export function isPlainAuthority(target: string): boolean {
  return /^(?:[a-z-]+|[a-z0-9-]+(?:\.[a-z0-9-]+)+\.?|\[[0-9a-f:.]+\]):\d+$/.test(target);
}

export interface AllowedTunnel {
  /** As in the config. */
  readonly entry: string;
  readonly host: string;
}

/**
 * The entry that allows a tunnel. A wildcard stands for names alone, because an address could be that of a routed host. `*`
 * stands for public names alone.
 */
export function allowedTunnel(entries: readonly string[], { host, port }: Authority): AllowedTunnel | undefined {
  const exact = `${host}:${port}`;
  if (entries.includes(exact)) return { entry: exact, host: withoutBrackets(host) };
  if (!isName(host)) return undefined;
  const entry = entries.find((each) => {
    if (!each.startsWith('*') || !each.endsWith(`:${port}`)) return false;
    const suffix = each.slice(1, each.lastIndexOf(':'));
    return suffix === '' ? isPublicName(host) : host.endsWith(suffix);
  });
  // The dot keeps search domains from turning the name into that of a routed host.
  return entry === undefined ? undefined : { entry, host: `${host}.` };
}

/** False for an address in every spelling that a resolver accepts, and for names that it may read as another one. */
function isName(host: string): boolean {
  const reading = readHostPattern(host);
  if (!('value' in reading) || reading.value !== host || host.startsWith('[')) return false;
  const url = `http://${host}/`;
  return URL.canParse(url) && new URL(url).hostname === host && !/^[\d.]+$/.test(host);
}
