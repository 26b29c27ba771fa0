import { type buildConnector, Dispatcher, errors } from 'undici';
import { createHttp1Pool, type Http1Pool } from './pool.ts';
import { createSockets, type Sockets } from './sockets.ts';
import { UpstreamRequest } from './upstream-request.ts';

/**
 * Speaks HTTP/1.1, to undici's handlers, by its parser and its connector, on connections of our own: those of undici cost a cached call
 * a fifth more CPU, and end the process where one ends while its answer is held back. Nothing is sent twice, no redirect is
 * followed, an answer whose head has come may take as long as it likes, and of what comes before it (1xx) nobody is told.
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

  /** Lets what is under way end; settles when all connections are closed. */
  override async close(): Promise<void> {
    this.#refusal ??= new errors.ClientClosedError();
    await Promise.all([...this.#pools.values()].map((pool) => pool.close()));
  }

  /** Breaks off what is under way. */
  override async destroy(): Promise<void> {
    const reason = new errors.ClientDestroyedError();
    this.#refusal = reason;
    for (const pool of this.#pools.values()) pool.destroy(reason);
    this.#sockets.destroy(reason);
  }
}
