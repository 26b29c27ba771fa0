import { performance } from 'node:perf_hooks';
import { Dispatcher, errors } from 'undici';
import type { ConnectorOptions } from '../connector.ts';
import type { Connection } from './connection.ts';
import { createConnections, createIdleConnections } from './connections.ts';
import { createSockets, type Sockets } from './sockets.ts';
import { UpstreamRequest } from './upstream-request.ts';

interface Http1PoolOptions {
  readonly sockets: Sockets;
  /** The pool has neither a request nor a connection. */
  readonly onEmpty: () => void;
}

/** A new connection whose request went out on another one is kept for this time. */
const UNUSED_MS = 4_000;

/** A request that is sent on the next available connection. */
interface Waiting {
  readonly request: UpstreamRequest;
  /** A connection is being opened for this request. */
  isConnecting: boolean;
}

/** The connections to one origin: as many as there are concurrent requests. */
export type Http1Pool = ReturnType<typeof createHttp1Pool>;

export function createHttp1Pool(origin: URL, { sockets, onEmpty }: Http1PoolOptions) {
  const connections = createConnections(origin, {
    sockets,
    onIdle(connection, idleMs) {
      becomingIdle.push({ connection, idleMs });
      schedule();
    },
    onRemoved: checkEmpty,
  });
  const idle = createIdleConnections();
  /** Idle from the next turn of the event loop on. */
  const becomingIdle: { connection: Connection; idleMs: number }[] = [];
  const waiting: Waiting[] = [];
  /** Requests that wait for a connection of their own. */
  const exclusive = new Set<UpstreamRequest>();
  let isScheduled = false;
  /** No connection is kept any longer. */
  let isClosing = false;
  let closed: Promise<void> | undefined;
  let onClosed: (() => void) | undefined;

  /**
   * Sends requests at the end of this turn of the event loop, after all input was read. Unexpected bytes on an idle connection
   * have closed it by then. Otherwise they would be read as the response to the next request.
   */
  function schedule(): void {
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(serve);
  }

  function serve(): void {
    isScheduled = false;
    const nowMs = performance.now();
    while (waiting.length > 0) {
      const connection = idle.take(nowMs);
      if (connection === undefined) break;
      use(connection);
    }
    if (waiting.length > 0) serveLater();
    for (const { connection, idleMs } of becomingIdle.splice(0)) keep(connection, nowMs + idleMs);
  }

  /** Connections that become idle in the next turn serve as many requests. Opens one for each other request. */
  function serveLater(): void {
    if (becomingIdle.length > 0) schedule();
    for (const each of waiting.slice(becomingIdle.length)) if (!each.isConnecting) connectFor(each);
  }

  /** Sends the first waiting request that was not aborted. */
  function use(connection: Connection): void {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (connection.send(next.request)) return;
    }
    keep(connection, performance.now() + UNUSED_MS);
  }

  function keep(connection: Connection, untilMs: number): void {
    if (isClosing) connection.destroy(new errors.ClientClosedError());
    else idle.add(connection, untilMs);
  }

  function connectFor(first: Waiting): void {
    first.isConnecting = true;
    connections.open((error, connection) => {
      const index = waiting.indexOf(first);
      // If its request went out on another connection, this one serves the next waiting request, or is kept.
      const still = index === -1 ? [] : waiting.splice(index, 1);
      if (connection === null) {
        for (const { request } of still) request.fail(error);
        return;
      }
      waiting.unshift(...still);
      use(connection);
    });
  }

  /** Serves a request by which the connection may switch to another protocol. */
  function openExclusive(request: UpstreamRequest): void {
    exclusive.add(request);
    connections.openExclusive((error, connection) => {
      exclusive.delete(request);
      if (connection === null) request.fail(error);
      else if (!connection.send(request)) connection.destroy(new errors.InformationalError('the request was aborted'));
    });
  }

  function checkEmpty(): void {
    if (connections.count() + waiting.length > 0) return;
    onEmpty();
    onClosed?.();
  }

  return {
    /** Sends a request on an idle connection, or on a new one. */
    dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
      const request = new UpstreamRequest(options, handler);
      if (options.upgrade) {
        openExclusive(request);
        return;
      }
      waiting.push({ request, isConnecting: false });
      schedule();
    },
    /** Lets requests in flight finish. Settles when all connections are closed. */
    close(): Promise<void> {
      isClosing = true;
      idle.closeAll();
      closed ??= new Promise((resolve) => {
        onClosed = resolve;
        checkEmpty();
      });
      return closed;
    },
    /** Fails all requests. Sockets that are still connecting are closed by their owner. */
    destroy(reason: Error): void {
      for (const { request } of waiting.splice(0)) request.fail(reason);
      for (const request of exclusive) request.fail(reason);
      connections.destroy(reason);
      checkEmpty();
    },
  };
}

/**
 * Speaks HTTP/1.1 on connections of its own, with undici's handlers, parser and connector. With undici's connections, an
 * unexpected `100 Continue` fails its request, and a complete response is lost if its connection ends while the last bytes are
 * paused. They also cost a fifth more CPU per cached call. See "Own transports" in `src/README.md`.
 *
 * Retries nothing, follows no redirect, sets no timeout after the response headers, and drops interim responses.
 */
export class Http1Dispatcher extends Dispatcher {
  readonly #sockets: Sockets;
  /** Each origin has one. */
  readonly #pools = new Map<string, Http1Pool>();
  #refusal: Error | undefined;

  constructor(connect: ConnectorOptions) {
    super();
    this.#sockets = createSockets(connect);
  }

  /** @param options headers: names and values in turn, or by name; body: see `RequestContent` */
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
