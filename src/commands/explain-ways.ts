import type { Listen, TcpListen } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import { reachableUrlHost } from '../listeners/this-machine.ts';
import { tlsOf } from '../listeners/tls.ts';
import { createConfigTable } from '../routing/region-table.ts';
import { addressedAuthority, readHost } from '../routing/request-target.ts';

export interface WayExplanation {
  /** The URL is as an agent's setting has it. */
  readonly way: 'base_url' | 'proxy' | 'names' | 'packets' | 'exec';
  readonly how: string;
}

/**
 * The ways by which a request to a URL could arrive. For an https URL, cambist must terminate TLS, so its host needs a route.
 * @param url a path is that of a URL of cambist
 */
export function waysIn(config: Config, url: string): WayExplanation[] {
  const { listen, intercept } = config;
  const own = schemeOf(listen);
  const address =
    listen.kind === 'unix' ? `unix:${listen.path}` : `${own}://${reachableUrlHost(listen.host)}:${listen.port}`;
  const isTcp = listen.kind === 'tcp';
  const { scheme, host } = partsOf(url);
  if (scheme === undefined) return [{ way: 'base_url', how: `the agent calls ${address}` }];
  const isRouted = host !== undefined && createConfigTable(config).namesHost(host);
  const redirected = isRouted ? redirects(intercept?.listen ?? [], url) : [];
  const sendsHost = isTcp && address === originOf(url) ? '' : ' and sends this Host';
  const direct =
    scheme === own ? [{ way: 'base_url', how: `the agent connects to ${address}${sendsHost}` } as const] : [];
  if (scheme === 'http') {
    return [...direct, ...(isTcp ? [{ way: 'proxy', how: `HTTP_PROXY=${address}` } as const] : []), ...redirected];
  }
  if (!isRouted) return direct;
  return [
    ...direct,
    ...(isTcp && intercept !== undefined
      ? [{ way: 'proxy', how: `HTTPS_PROXY=${address}, and the agent trusts ${intercept.trustDir}` } as const]
      : []),
    ...redirected,
    { way: 'exec', how: 'cambist exec -- COMMAND' },
  ];
}

/** Names lead to a listener with the port of the URL, packets to any. */
function redirects(addresses: readonly TcpListen[], url: string): WayExplanation[] {
  if (addresses.length === 0) return [];
  const { port, protocol } = new URL(url);
  const wanted = Number(port || (protocol === 'https:' ? 443 : 80));
  const named = addresses.find((address) => address.port === wanted);
  const all = addresses.map((address) => `${reachableUrlHost(address.host)}:${address.port}`).join(' or ');
  return [
    ...(named === undefined
      ? []
      : [{ way: 'names', how: `hostAliases point the host at ${reachableUrlHost(named.host)}` } as const]),
    { way: 'packets', how: `port ${wanted} is redirected to ${all}` },
  ];
}

/** Reason why a request to an https URL cannot arrive, other than by `exec`. Undefined where it can. */
export function whyNoWay(config: Config, url: string): string | undefined {
  const { listen, intercept } = config;
  const { scheme, host } = partsOf(url);
  if (scheme !== 'https' || schemeOf(listen) === 'https') return undefined;
  if (host === undefined || !createConfigTable(config).namesHost(host)) {
    return 'no match.host names this host, and cambist terminates TLS only for those';
  }
  if (intercept === undefined) return 'the config has no intercept, so TLS to this host is refused';
  return listen.kind === 'unix' && intercept.listen.length === 0
    ? 'listen is a Unix socket, which no proxy variable can name'
    : undefined;
}

function schemeOf(listen: Listen): 'http' | 'https' {
  return tlsOf(listen) === undefined ? 'http' : 'https';
}

function partsOf(url: string): { scheme: string | undefined; host: string | undefined } {
  const scheme = /^(https?):\/\//i.exec(url)?.[1]?.toLowerCase();
  return { scheme, host: scheme === undefined ? undefined : readHost(addressedAuthority(url, [])) };
}

function originOf(url: string): string | undefined {
  return /^https?:\/\/[^/?#]*/i.exec(url)?.[0].toLowerCase();
}
