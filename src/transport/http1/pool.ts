import { type Dispatcher, errors } from 'undici';
import type { Connection } from './connection.ts';
import { createConnections } from './connections.ts';
import { createFreeConnections } from './free-connections.ts';
import type { Sockets } from './sockets.ts';
import { UpstreamRequest } from './upstream-request.ts';

/** The connections to one origin: as many as there are requests at once. */
export interface Http1Pool {
  /** Sends a request on a free connection, or on a new one. */
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void;
  /** Lets what is under way end; settles when all connections are closed. */
  close(): Promise<void>;
  /** Breaks off what waits and is under way; what still connects, whoever opens it ends. */
  destroy(reason: Error): void;
}

export interface Http1PoolOptions {
  readonly sockets: Sockets;
  /** A connection could not be opened. */
  readonly onConnectionError: (error: Error) => void;
  /** There is neither a request nor a connection any more. */
  readonly onEmpty: () => void;
}

/** How long a connection is kept that nobody has waited for after all. */
const UNUSED_MS = 4_000;

/** A request that goes out on the next connection there is. */
interface Waiting {
  readonly request: UpstreamRequest;
  /** One is being opened for it. */
  isOpening: boolean;
}

export function createHttp1Pool(origin: URL, { sockets, onConnectionError, onEmpty }: Http1PoolOptions): Http1Pool {
  const connections = createConnections(origin, {
    sockets,
    onFree(connection, idleMs) {
      freed.push({ connection, idleMs });
      schedule();
    },
    onError: onConnectionError,
    onFewer: lookIfEmpty,
  });
  const free = createFreeConnections();
  /** Free from the next turn of the event loop on. */
  const freed: { connection: Connection; idleMs: number }[] = [];
  const waiting: Waiting[] = [];
  /** Those that wait for a connection of their own. */
  const alone = new Set<UpstreamRequest>();
  let isScheduled = false;
  /** No connection is kept any longer. */
  let isClosing = false;
  let closed: Promise<void> | undefined;
  let onClosed: (() => void) | undefined;

  /**
   * Requests go out when all was read that has come in this turn of the event loop. What an upstream sends on a free connection,
   * which nobody has asked for, has ended the connection by then: it would be taken for the answer to the next request.
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
      const connection = free.take(nowMs);
      if (connection === undefined) break;
      use(connection);
    }
    if (waiting.length > 0) serveLater();
    for (const { connection, idleMs } of freed.splice(0)) keep(connection, nowMs + idleMs);
  }

  /** As many as are free from the next turn on go out then; a connection is opened for each of the others. */
  function serveLater(): void {
    if (freed.length > 0) schedule();
    for (const each of waiting.slice(freed.length)) if (!each.isOpening) openFor(each);
  }

  /** For the first that waits, and still wants to go out. */
  function use(connection: Connection): void {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (connection.carry(next.request)) return;
    }
    keep(connection, performance.now() + UNUSED_MS);
  }

  function keep(connection: Connection, untilMs: number): void {
    if (isClosing) connection.destroy(new errors.ClientClosedError());
    else free.keep(connection, untilMs);
  }

  function openFor(first: Waiting): void {
    first.isOpening = true;
    connections.open((error, connection) => {
      const place = waiting.indexOf(first);
      // It may have gone out on another: then this one serves whoever waits now, or is kept.
      const still = place === -1 ? [] : waiting.splice(place, 1);
      if (connection === null) {
        for (const { request } of still) request.fail(error);
        return;
      }
      waiting.unshift(...still);
      use(connection);
    });
  }

  /** For a request by which the connection may become one of another protocol. */
  function openAlone(request: UpstreamRequest): void {
    alone.add(request);
    connections.openAlone((error, connection) => {
      alone.delete(request);
      if (connection === null) request.fail(error);
      else if (!connection.carry(request)) connection.destroy(new errors.InformationalError('its request is over'));
    });
  }

  function lookIfEmpty(): void {
    if (connections.count() + waiting.length > 0) return;
    onEmpty();
    onClosed?.();
  }

  return {
    dispatch(options, handler) {
      const request = new UpstreamRequest(options, handler);
      if (options.upgrade) {
        openAlone(request);
        return;
      }
      waiting.push({ request, isOpening: false });
      schedule();
    },
    close() {
      isClosing = true;
      free.closeAll();
      closed ??= new Promise((resolve) => {
        onClosed = resolve;
        lookIfEmpty();
      });
      return closed;
    },
    destroy(reason) {
      for (const { request } of waiting.splice(0)) request.fail(reason);
      for (const request of alone) request.fail(reason);
      connections.destroy(reason);
      lookIfEmpty();
    },
  };
}
