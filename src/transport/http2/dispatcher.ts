import { type buildConnector, Dispatcher, errors } from 'undici';
import { createOpener, type Opener } from '../opener.ts';
import { createHttp2Pool, type Http2Pool } from './pool.ts';
import { failUnsent } from './request.ts';

export interface Http2DispatcherOptions {
  readonly connect: buildConnector.BuildOptions & { readonly timeout: number };
  /** See `Http2PoolOptions`. */
  readonly pingMs?: number;
}

/**
 * Speaks HTTP/2 to upstreams that offer it, and HTTP/1.1 to the others. undici has HTTP/2, too, but there an answer that was
 * given up half-way looks whole, those under way break where the upstream asks for another connection (GOAWAY), and a
 * connection takes one request at a time.
 */
export class Http2Dispatcher extends Dispatcher {
  readonly #options: Http2DispatcherOptions;
  readonly #opener: Opener;
  readonly #fallback: Dispatcher;
  readonly #pools = new Map<string, Http2Pool>();
  /** Origins that have no HTTP/2. */
  readonly #old = new Set<string>();
  #refusal: Error | undefined;

  /** @param fallback takes what goes to upstreams without HTTP/2, and is closed with this */
  constructor(options: Http2DispatcherOptions, fallback: Dispatcher) {
    super();
    this.#options = options;
    this.#opener = createOpener({ ...options.connect, allowH2: true });
    this.#fallback = fallback;
    // Who answers there next may be another.
    this.#fallback.on('connectionError', ({ origin }) => this.#old.delete(origin));
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const url = new URL(String(options.origin));
    if (url.protocol !== 'https:' || this.#old.has(url.origin)) return this.#fallback.dispatch(options, handler);
    if (this.#refusal === undefined) this.#pool(url).dispatch(options, handler);
    else failUnsent(handler, this.#refusal);
    return true;
  }

  #pool(url: URL): Http2Pool {
    const known = this.#pools.get(url.origin);
    if (known !== undefined) return known;
    const pool = createHttp2Pool(url, {
      open: this.#opener.open,
      connectMs: this.#options.connect.timeout,
      pingMs: this.#options.pingMs,
      onOld: (waiting) => {
        this.#old.add(url.origin);
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
    this.#opener.destroy(reason);
    await this.#fallback.destroy();
  }
}
