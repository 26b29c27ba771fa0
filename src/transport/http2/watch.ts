import type { ClientHttp2Session } from 'node:http2';

/** A connection as its watch sees it. The numbers change. */
export interface WatchedConnection {
  readonly session: ClientHttp2Session;
  /** Open streams. */
  readonly streams: number;
  /** Requests whose streamed body is not completely sent. */
  readonly uploads: number;
  /** All requests so far. */
  readonly requests: number;
  /** Bytes of all response bodies so far. */
  readonly bodyBytes: number;
}

/** Interval of pings on a connection with streams. Without them, a connection that died silently would stay in use. */
const PING_MS = 5_000;

/** An upstream that is busy responds to no ping for a while. With the interval above, it has 30 s. */
const MAX_UNANSWERED = 6;

/**
 * Limit for the frames of an interval, apart from bodies that were read: a fixed part, which also covers the windows of
 * `session.ts`, and a part for each response and each byte of a body.
 */
const FRAMES_BYTES = 2 * 1024 * 1024;
const FRAMES_BYTES_PER_RESPONSE = 128 * 1024;
const FRAMES_BYTES_PER_BODY_BYTE = 64;

/** Node keeps every origin of ORIGIN frames until the connection closes (RFC 8336). */
const MAX_ORIGIN_LENGTH = 64 * 1024;

/**
 * Destroys a connection that is dead, or that its upstream floods with frames.
 * @param everyMs interval of the checks
 */
export function watchConnection(connection: WatchedConnection, everyMs = PING_MS): void {
  const { session } = connection;
  const isFlooded = createFloodCheck(connection);
  let unanswered = 0;
  let originLength = 0;

  const fail = (reason: string): void => session.destroy(new Error(`HTTP/2: ${reason}`));

  const check = (): void => {
    if (session.destroyed) return;
    if (isFlooded()) fail('the upstream sends too many frames');
    else if (connection.streams === 0) unanswered = 0;
    else if (unanswered === 0) ping();
    else if (isStuck(connection)) fail('the connection is dead: a ping was not sent');
    else if (unanswered >= MAX_UNANSWERED) fail('the connection is dead: a ping got no response');
    else unanswered += 1;
  };

  function ping(): void {
    unanswered = 1;
    session.ping((error) => {
      if (error === null) unanswered = 0;
    });
  }

  const checking = setInterval(check, everyMs).unref();
  session.once('close', () => clearInterval(checking));
  session.on('origin', (origins: readonly string[]) => {
    for (const origin of origins) originLength += origin.length;
    if (originLength > MAX_ORIGIN_LENGTH) fail('the upstream names too many origins');
  });
}

/**
 * After an error of the protocol, Node 20 neither sends nor reads any more, and does not say so. Frames then stay in its queue. They
 * also do while an upload fills the buffers on the way.
 */
function isStuck({ session, uploads }: WatchedConnection): boolean {
  return uploads === 0 && (session.state.outboundQueueSize ?? 0) > 0;
}

/** Returns whether the upstream has sent too much since the previous check. */
function createFloodCheck(connection: WatchedConnection): () => boolean {
  const now = () => ({
    bytes: connection.session.socket.bytesRead,
    bodyBytes: connection.bodyBytes,
    requests: connection.requests,
  });
  let last = now();
  return () => {
    const { bytes, bodyBytes, requests } = last;
    last = now();
    const responses = connection.streams + last.requests - requests;
    const body = last.bodyBytes - bodyBytes;
    const allowed = FRAMES_BYTES + responses * FRAMES_BYTES_PER_RESPONSE + body * (1 + FRAMES_BYTES_PER_BODY_BYTE);
    return last.bytes - bytes > allowed;
  };
}
