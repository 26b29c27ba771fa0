import { type buildConnector, Dispatcher, errors } from 'undici';
import { createHttp1Pool, type Http1Pool } from './pool.ts';
import { createSockets, type Sockets } from './sockets.ts';
import { UpstreamRequest } from './upstream-request.ts';

/**
 * Speaks HTTP/1.1 on connections of its own, with undici's handlers, parser and connector. With undici's connections, an
 * unexpected `100 Continue` fails its request, and a complete response is lost if its connection ends while the last bytes are
 * paused. They also cost a fifth more CPU per cached call. See "Own transports" in `src/README.md`.
 *
 * Retries nothing, follows no redirect, sets no timeout after the response headers, and drops interim responses.
 */
export class Http1Dispatcher extends Dispatcher {
  readonly #sockets: Sockets;
  /** By origin. */
  readonly #pools = new Map<string, Http1Pool>();
  #refusal: Error | undefined;

  constructor(connect: buildConnector.BuildOptions) {
    super();
    this.#sockets = createSockets(connect);
  }

  /** @param options headers: names and values in turn, or by name; body: none, a buffer or an iterable of buffers */
  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    if (this.#refusal === undefined) this.#pool(String(options.origin)).dispatch(options, handler);
    else new UpstreamRequest(options, handler).fail(this.#refusal);
    return true;
  }

  #pool(origin: string): Http1Pool {
    const known = this.#pools.get(origin);
    if (known !== undefined) return known;
    const url = new URL(origin);
    const pool = createHttp1Pool(url, {
      sockets: this.#sockets,
      onConnectionError: (error) => this.emit('connectionError', url, [this], error as errors.UndiciError),
      onEmpty: () => this.#pools.delete(origin),
    });
    this.#pools.set(origin, pool);
    return pool;
  }

  /** Lets requests in flight finish. Settles when all connections are closed. */
  override async close(): Promise<void> {
    this.#refusal ??= new errors.ClientClosedError();
    await Promise.all([...this.#pools.values()].map((pool) => pool.close()));
  }

  /** Fails requests in flight. */
  override async destroy(): Promise<void> {
    const reason = new errors.ClientDestroyedError();
    this.#refusal = reason;
    for (const pool of this.#pools.values()) pool.destroy(reason);
    this.#sockets.destroy(reason);
  }
}
