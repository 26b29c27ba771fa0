import { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2';
import type { Dispatcher } from 'undici';
import type { Connect } from '../connector.ts';
import { failUnsent, sendHttp2 } from './request.ts';
import { openSession } from './session.ts';
import { type WatchedConnection, watchConnection } from './watch.ts';

/** Limit for the streams of one connection, because they share its throughput. The upstream may allow fewer. */
const MAX_STREAMS = 100;

/** An idle connection is closed after this time, before machines in between forget it. */
const IDLE_MS = 30_000;

/** The connections to one origin. */
export interface Http2Pool {
  /** @param options body: none, a buffer or an iterable of buffers; headers: lower-case names and values in turn */
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void;
  /** Lets requests in flight finish. Settles when all connections are closed. */
  close(): Promise<void>;
  /** Fails all requests. A socket that is still connecting is closed by its owner. */
  destroy(reason: Error): void;
}

export interface Http2PoolOptions {
  /** Offers HTTP/2 by ALPN. */
  readonly connect: Connect;
  readonly connectMs: number;
  /** Interval of pings, for tests. */
  readonly pingMs?: number | undefined;
  /** The upstream does not offer HTTP/2. Called with all waiting requests. */
  readonly onWithoutHttp2: (waiting: readonly Waiting[]) => void;
}

/** A request that waits for a connection. */
export interface Waiting {
  readonly options: Dispatcher.DispatchOptions;
  readonly handler: Dispatcher.DispatchHandler;
  /** The connection that has refused this request. It is sent again on another one. */
  readonly refusedBy?: Connection;
}

interface Connection extends WatchedConnection {
  streams: number;
  uploads: number;
  requests: number;
  bodyBytes: number;
  /** From GOAWAY: the upstream has not processed later streams. */
  lastStreamId: number;
}

export function createHttp2Pool(
  origin: URL,
  { connect, connectMs, pingMs, onWithoutHttp2 }: Http2PoolOptions,
): Http2Pool {
  const connections = new Set<Connection>();
  const destroying = new AbortController();
  let waiting: Waiting[] = [];
  let isConnecting = false;
  let isServing = false;
  let onClosed: (() => void) | undefined;

  /** Sends as many waiting requests as there is room for. Opens a connection for the others. */
  function serve(): void {
    // A request that ends while it is sent calls this again. Without the guard, each would add a level of recursion.
    if (isServing) return;
    isServing = true;
    try {
      for (const connection of connections) {
        while (hasRoom(connection)) {
          const next = waiting.findIndex(({ refusedBy }) => refusedBy !== connection);
          if (next === -1) break;
          for (const taken of waiting.splice(next, 1)) send(connection, taken);
        }
      }
    } finally {
      isServing = false;
    }
    if (waiting.length > 0) openConnection();
    else if (onClosed !== undefined) closeIdle();
  }

  function send(connection: Connection, taken: Waiting): void {
    const { options, handler } = taken;
    const uploads = isReplayable(options.body) ? 0 : 1;
    connection.streams += 1;
    connection.uploads += uploads;
    connection.requests += 1;
    sendHttp2(connection.session, options, handler, {
      onBody(bytes) {
        connection.bodyBytes += bytes;
      },
      onSent() {
        connection.uploads -= uploads;
      },
      onNoResponse(stream) {
        // The upstream has had enough of this connection, and would reset the next streams on it too. Another one may do.
        if (stream.rstCode === constants.NGHTTP2_ENHANCE_YOUR_CALM) connection.session.close();
        if (destroying.signal.aborted || taken.refusedBy !== undefined) return false;
        if (!isUnprocessed(stream, connection) || !isReplayable(options.body)) return false;
        waiting.push({ options, handler, refusedBy: connection });
        return true;
      },
      onEnd() {
        connection.streams -= 1;
        serve();
      },
    });
  }

  function openConnection(): void {
    if (isConnecting) return;
    isConnecting = true;
    openSession(origin, connect, connectMs, destroying.signal).then(
      (session) => {
        isConnecting = false;
        if (session === undefined) {
          onWithoutHttp2(takeWaiting());
          if (onClosed !== undefined) closeIdle();
        } else {
          add(session);
        }
      },
      (error: Error) => {
        isConnecting = false;
        failWaiting(error);
      },
    );
  }

  function add(session: ClientHttp2Session): void {
    if (destroying.signal.aborted) {
      session.destroy();
      return;
    }
    const lastStreamId = Number.POSITIVE_INFINITY;
    const connection = { session, streams: 0, uploads: 0, requests: 0, bodyBytes: 0, lastStreamId };
    session.on('goaway', (_code: number, lastStreamId: number) => {
      connection.lastStreamId = lastStreamId;
    });
    if (!hasRoom(connection)) {
      // The next connection would accept no stream either, and so on without end.
      session.close();
      failWaiting(new Error('HTTP/2: the upstream accepts no streams'));
      return;
    }
    connections.add(connection);
    watchConnection(connection, pingMs);
    session.setTimeout(IDLE_MS, () => {
      if (connection.streams === 0) session.close();
    });
    session.once('close', () => {
      connections.delete(connection);
      serve();
    });
    serve();
  }

  function takeWaiting(): Waiting[] {
    const taken = waiting;
    waiting = [];
    return taken;
  }

  function failWaiting(error: Error): void {
    for (const { handler } of takeWaiting()) failUnsent(handler, error);
    if (onClosed !== undefined) closeIdle();
  }

  function closeIdle(): void {
    if (isConnecting) return;
    for (const { session, streams } of connections) if (streams === 0) session.close();
    if (connections.size === 0) onClosed?.();
  }

  return {
    dispatch(options, handler) {
      waiting.push({ options, handler });
      serve();
    },
    close() {
      return new Promise((resolve) => {
        onClosed = resolve;
        serve();
      });
    },
    destroy(reason) {
      destroying.abort();
      for (const { session } of connections) session.destroy();
      failWaiting(reason);
    },
  };
}

/** The upstream did not process the request, so it may be sent again, whatever its method (RFC 9113 section 8.7). */
function isUnprocessed({ rstCode, id = 0 }: ClientHttp2Stream, { lastStreamId }: Connection): boolean {
  return rstCode === constants.NGHTTP2_REFUSED_STREAM || id > lastStreamId;
}

function isReplayable(body: unknown): boolean {
  return body === null || body === undefined || Buffer.isBuffer(body);
}

/** After GOAWAY a session has `closed` set. */
function hasRoom({ session, streams }: Connection): boolean {
  if (session.closed || session.destroyed) return false;
  return streams < Math.min(session.remoteSettings.maxConcurrentStreams ?? MAX_STREAMS, MAX_STREAMS);
}
