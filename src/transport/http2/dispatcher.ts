import { Dispatcher, errors } from 'undici';
import { type Connector, type ConnectorOptions, createConnector } from '../connector.ts';
import { createHttp2Pool, type Http2Pool } from './pool.ts';
import { failUnsent } from './request.ts';

export interface Http2DispatcherOptions {
  readonly connect: ConnectorOptions & { readonly timeout: number };
  /** See `Http2PoolOptions`. */
  readonly pingMs?: number;
}

/**
 * Speaks HTTP/2 to upstreams that offer it, and HTTP/1.1 to the others. undici's own HTTP/2 reports a response as complete that
 * has no length and was reset with `NO_ERROR` or `CANCEL`. See "Own transports" in `src/README.md`.
 */
export class Http2Dispatcher extends Dispatcher {
  readonly #options: Http2DispatcherOptions;
  readonly #connector: Connector;
  readonly #fallback: Dispatcher;
  readonly #pools = new Map<string, Http2Pool>();
  /** Origins that do not offer HTTP/2. */
  readonly #withoutHttp2 = new Set<string>();
  #refusal: Error | undefined;

  /** @param fallback takes the requests to upstreams without HTTP/2, and is closed together with this dispatcher */
  constructor(options: Http2DispatcherOptions, fallback: Dispatcher) {
    super();
    this.#options = options;
    this.#connector = createConnector({ ...options.connect, allowH2: true });
    this.#fallback = fallback;
    // Another server may be there next time.
    this.#fallback.on('connectionError', ({ origin }) => this.#withoutHttp2.delete(origin));
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const url = new URL(String(options.origin));
    if (url.protocol !== 'https:' || this.#withoutHttp2.has(url.origin)) {
      return this.#fallback.dispatch(options, handler);
    }
    if (this.#refusal === undefined) this.#pool(url).dispatch(options, handler);
    else failUnsent(handler, this.#refusal);
    return true;
  }

  #pool(url: URL): Http2Pool {
    const known = this.#pools.get(url.origin);
    if (known !== undefined) return known;
    const pool = createHttp2Pool(url, {
      connect: this.#connector.connect,
      connectMs: this.#options.connect.timeout,
      pingMs: this.#options.pingMs,
      onWithoutHttp2: (waiting) => {
        this.#withoutHttp2.add(url.origin);
        for (const { options, handler } of waiting) this.#fallback.dispatch(options, handler);
      },
    });
    this.#pools.set(url.origin, pool);
    return pool;
  }

  override async close(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.close()));
    await this.#fallback.close();
  }

  override async destroy(): Promise<void> {
    const reason = new errors.ClientDestroyedError();
    this.#refusal = reason;
    for (const pool of this.#pools.values()) pool.destroy(reason);
    this.#connector.destroy(reason);
    await this.#fallback.destroy();
  }
}
