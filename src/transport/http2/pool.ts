import { type ClientHttp2Session, type ClientHttp2Stream, constants } from 'node:http2';
import type { Dispatcher } from 'undici';
import type { Open } from '../opener.ts';
import { failUnsent, sendHttp2 } from './request.ts';
import { openSession } from './session.ts';

/** Streams on one connection at most, whatever the upstream allows: they share what one connection carries. */
const MAX_STREAMS = 100;

/** A connection without a stream is closed after this, before those in between forget it. */
const IDLE_MS = 30_000;

/** How often a connection with streams is asked whether it still stands: one that died without a word would be used on. */
const PING_MS = 30_000;

/** The connections to one origin. */
export interface Http2Pool {
  /** @param options body: none, a buffer or an iterable of buffers; headers: lower-case names and values in turn */
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void;
  /** Lets what is under way end; settles when all connections are closed. */
  close(): Promise<void>;
  /** Breaks off what waits and is under way; a socket that still connects, whoever opens it ends. */
  destroy(reason: Error): void;
}

export interface Http2PoolOptions {
  /** Offers HTTP/2 by ALPN. */
  readonly open: Open;
  readonly connectMs: number;
  /** Until the next ping, and for the answer to the last; 30 s where it is not said. */
  readonly pingMs?: number | undefined;
  /** The upstream has no HTTP/2; gets what waited for it. */
  readonly onOld: (waiting: readonly Waiting[]) => void;
}

/** A request for which there is no connection yet. */
export interface Waiting {
  readonly options: Dispatcher.DispatchOptions;
  readonly handler: Dispatcher.DispatchHandler;
  /** Given: it was sent there, and is sent once more by another. */
  readonly refusedBy?: Connection;
}

interface Connection {
  readonly session: ClientHttp2Session;
  streams: number;
  /** What the upstream has said with GOAWAY: of later streams it has done nothing. */
  lastStreamId: number;
}

export function createHttp2Pool(
  origin: URL,
  { open, connectMs, pingMs = PING_MS, onOld }: Http2PoolOptions,
): Http2Pool {
  const connections = new Set<Connection>();
  const destroying = new AbortController();
  let waiting: Waiting[] = [];
  let isConnecting = false;
  let isServing = false;
  let onClosed: (() => void) | undefined;

  /** Sends what waits, as far as there is room; the rest waits for another connection. */
  function serve(): void {
    // A request that ends as it is sent makes room for the next: from inside, each would be a call deeper than the one before.
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
    if (waiting.length > 0) connect();
    else if (onClosed !== undefined) closeIdle();
  }

  function send(connection: Connection, taken: Waiting): void {
    const { options, handler } = taken;
    connection.streams += 1;
    sendHttp2(connection.session, options, handler, {
      unanswered(stream) {
        if (destroying.signal.aborted || taken.refusedBy !== undefined) return false;
        if (!isUnprocessed(stream, connection) || !isWhole(options.body)) return false;
        waiting.push({ options, handler, refusedBy: connection });
        return true;
      },
      ended() {
        connection.streams -= 1;
        serve();
      },
    });
  }

  function connect(): void {
    if (isConnecting) return;
    isConnecting = true;
    openSession(origin, open, connectMs, destroying.signal).then(
      (session) => {
        isConnecting = false;
        if (session === undefined) {
          onOld(takeWaiting());
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
    const connection = { session, streams: 0, lastStreamId: Number.POSITIVE_INFINITY };
    session.on('goaway', (_code: number, lastStreamId: number) => {
      connection.lastStreamId = lastStreamId;
    });
    if (!hasRoom(connection)) {
      // One that takes nothing when it is new, or is closed already, says what the next would say, and so on without end.
      session.close();
      failWaiting(new Error('HTTP/2: the upstream takes no request'));
      return;
    }
    connections.add(connection);
    const pinging = setInterval(createPing(connection), pingMs).unref();
    session.setTimeout(IDLE_MS, () => {
      if (connection.streams === 0) session.close();
    });
    session.once('close', () => {
      clearInterval(pinging);
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

/** Asks whether the other side is still there, and breaks the connection where the last time was not answered. */
function createPing(connection: Connection): () => void {
  const { session } = connection;
  let isAnswered = true;
  return () => {
    if (session.destroyed) return;
    if (connection.streams === 0) {
      isAnswered = true;
    } else if (isAnswered) {
      isAnswered = false;
      session.ping(() => {
        isAnswered = true;
      });
    } else {
      session.destroy(new Error('HTTP/2: the connection is dead, as a ping was not answered'));
    }
  };
}

/** Nothing was done with it, so that it may be sent once more, whatever it asks for (RFC 9113 section 8.7). */
function isUnprocessed({ rstCode, id = 0 }: ClientHttp2Stream, { lastStreamId }: Connection): boolean {
  return rstCode === constants.NGHTTP2_REFUSED_STREAM || id > lastStreamId;
}

/** There to be sent a second time, as what streams is not. */
function isWhole(body: unknown): boolean {
  return body === null || body === undefined || Buffer.isBuffer(body);
}

/** An upstream that wants its requests on another connection (GOAWAY) has `closed` set. */
function hasRoom({ session, streams }: Connection): boolean {
  if (session.closed || session.destroyed) return false;
  return streams < Math.min(session.remoteSettings.maxConcurrentStreams ?? MAX_STREAMS, MAX_STREAMS);
}
