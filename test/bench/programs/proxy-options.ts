/** The options of the bench's own proxies, as JSON on the command line. */
export interface ProxyOptions {
  /** The origin of the upstream. */
  readonly origin: string;
  /** The CA of the upstream in PEM format; undefined without TLS. */
  readonly ca?: string;
  /** TLS of the listener in PEM format. `ca`: callers need certificates of this authority. Only for `undici-proxy`. */
  readonly listenTls?: { readonly cert: string; readonly key: string; readonly ca?: string };
}

export function readOptions(): ProxyOptions {
  return JSON.parse(process.argv[2] ?? '') as ProxyOptions;
}

/**
 * Path of the probe that the bench sends when a proxy listens, as it does to cambist. The first request of a process takes 4 % of the
 * CPU of its start.
 */
export const PROBE_PATH = '/readyz';

/** Reports the port to the bench. */
export function announce(port: number): void {
  process.stdout.write(`listening ${port}\n`);
}
