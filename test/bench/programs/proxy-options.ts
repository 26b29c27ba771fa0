/** What a proxy of the bench is told on its command line, as JSON. */
export interface ProxyOptions {
  /** Of the upstream: scheme, host, port. */
  readonly origin: string;
  /** PEM that its certificate is held to; undefined without TLS. */
  readonly ca?: string;
  /** Bodies are read before they are sent on; they stream unless told. Understood by `undici-proxy` alone. */
  readonly wholeBodies?: boolean;
  /** Each call costs a token exchange here, whose token goes on in place of the caller's. Understood by `undici-proxy` alone. */
  readonly tokenEndpoint?: string;
}

export function readOptions(): ProxyOptions {
  return JSON.parse(process.argv[2] ?? '') as ProxyOptions;
}

/** Tells the bench where it listens. */
export function announce(port: number): void {
  process.stdout.write(`listening ${port}\n`);
}
