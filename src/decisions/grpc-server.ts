import type { Server as HttpServer } from 'node:http';
import {
  constants,
  createSecureServer,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import fastify, { type FastifyInstance } from 'fastify';
import type { Listen } from '../config/addresses.ts';
import { connectionEvent, innermost } from '../listeners/idle-connection.ts';
import { KEEP_ALIVE_PROBES, NO_SCHEMAS } from '../listeners/listen.ts';
import { serverOptions, tlsOf } from '../listeners/tls.ts';

/** Status codes of gRPC. */
export const GRPC = {
  cancelled: 1,
  invalidArgument: 3,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  unimplemented: 12,
  internal: 13,
} as const;

/** Ends a call with a status that is not OK. */
export class GrpcError extends Error {
  override readonly name = 'GrpcError';
  readonly code: number;

  /** @param message in ASCII, without `%` */
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

export interface GrpcCall {
  readonly headers: IncomingHttpHeaders;
  readonly connection: Socket;
  /** Reads the only message of the client. @param maxBytes 4 MiB by default @throws {GrpcError} */
  read(maxBytes?: number): Promise<Buffer>;
  /** Reads each message as it comes, until the client sends no more. @throws {GrpcError} */
  messages(): AsyncIterable<Buffer>;
  /** @param listener is called where the client cancels, its deadline passes, or the connection closes */
  onClosed(listener: () => void): void;
}

/** Makes the only response, or each one, after which the call ends. @throws {GrpcError} or RangeError where a message is malformed */
type Method = (call: GrpcCall) => Promise<Buffer> | AsyncIterable<Buffer>;

interface GrpcServerOptions {
  /** By their paths, as in `/package.Service/Method`. */
  readonly methods: Readonly<Record<string, Method>>;
  readonly maxConcurrent: number;
  /** Each connection closes after the response from now on. */
  readonly isLeaving: () => boolean;
  /** Gets errors that no client should be able to provoke. */
  readonly onFault: (error: unknown) => void;
}

/** gRPC's usual limit. */
const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;
/** Longest pause of a client within a message. */
const READ_MS = 10_000;
/** For the last responses at shutdown. */
const CLOSE_MS = 500;
/** A flag for compression, and the length. */
const PREFIX_LENGTH = 5;
const CONTENT_TYPE = 'application/grpc';
/** Envoy resets each call of ext_proc, and by default Node closes a connection with more than 1,000 resets, and then 33 a second. */
const MAX_RESETS = 1_000_000;

/**
 * A server for calls of gRPC, on HTTP/2 alone.
 * @returns the server, and which of its connections have no complete call
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export function createGrpcServer(listen: Listen, { methods, maxConcurrent, isLeaving, onFault }: GrpcServerOptions) {
  const resets = { streamResetBurst: MAX_RESETS, streamResetRate: MAX_RESETS };
  const own = { ...KEEP_ALIVE_PROBES, ...resets, settings: { maxConcurrentStreams: maxConcurrent } };
  const { http, https } = serverOptions(tlsOf(listen), own) as { readonly http?: object; readonly https?: object };
  const server = https === undefined ? createServer(http ?? own) : createSecureServer(https);
  /** The calls in flight of each connection whose message is complete. */
  const calls = new Map<Socket, number>();
  const sessions = new Map<ServerHttp2Session, Socket>();
  /** The calls that wait for a further message. */
  const waiting = new Set<ServerHttp2Stream>();
  let connecting: Socket | undefined;

  // Node has no way from a session to its connection. The session is made as soon as the connection is there.
  server.prependListener(connectionEvent(server as unknown as HttpServer), (socket: Socket) => {
    connecting = socket;
  });
  server.on('session', (session) => {
    const socket = connecting as Socket;
    sessions.set(session, socket);
    calls.set(socket, 0);
    session.once('close', () => {
      sessions.delete(session);
      calls.delete(socket);
    });
  });
  server.on('stream', (stream, headers) => {
    // A client may reset a call.
    stream.on('error', () => {});
    const connection = stream.session && sessions.get(stream.session as ServerHttp2Session);
    if (connection === undefined) {
      stream.destroy();
      return;
    }
    void serve(stream, headers, connection);
  });

  function count(connection: Socket, change: 1 | -1): void {
    const now = calls.get(connection);
    if (now !== undefined) calls.set(connection, now + change);
  }

  async function serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, connection: Socket): Promise<void> {
    const path = String(headers[':path']);
    const type = headers['content-type'];
    if (headers[':method'] !== 'POST' || type === undefined || !/^application\/grpc(?:[+;]|$)/.test(type)) {
      stream.respond({ ':status': 415 }, { endStream: true });
      stream.close(constants.NGHTTP2_NO_ERROR);
      return;
    }
    let ending: Record<string, string> = { 'grpc-status': '0' };
    let isBegun = false;
    /** Until then, the connection may give way to a new one. */
    const begin = (): void => {
      stream.setTimeout(0);
      if (isBegun || stream.closed) return;
      isBegun = true;
      count(connection, 1);
      stream.once('close', () => count(connection, -1));
    };
    async function read(maxBytes = MAX_MESSAGE_BYTES): Promise<Buffer> {
      const message = await onlyOf(readMessages(stream, maxBytes));
      begin();
      return message;
    }
    async function* messages(): AsyncGenerator<Buffer, void> {
      try {
        for await (const message of readMessages(stream, MAX_MESSAGE_BYTES)) {
          waiting.delete(stream);
          begin();
          yield message;
          waiting.add(stream);
        }
      } finally {
        waiting.delete(stream);
      }
    }
    try {
      const method = Object.hasOwn(methods, path) ? methods[path] : undefined;
      if (method === undefined) throw new GrpcError(GRPC.unimplemented, 'unknown method');
      const call: GrpcCall = {
        headers,
        connection,
        read,
        messages,
        onClosed: (listener) => stream.once('close', listener),
      };
      const send = (response: Buffer, isOnly: boolean): void => {
        if (stream.closed) return;
        if (!stream.headersSent) {
          stream.respond({ ':status': 200, 'content-type': CONTENT_TYPE }, { waitForTrailers: true });
          stream.once('wantTrailers', () => stream.sendTrailers(ending));
        }
        if (isOnly) stream.end(framed(response));
        else stream.write(framed(response));
      };
      const responses = method(call);
      if (responses instanceof Promise) send(await responses, true);
      else {
        for await (const response of responses) {
          send(response, false);
          if (stream.closed) break;
        }
      }
    } catch (error) {
      const { code, message } = asGrpcError(error);
      if (code === GRPC.internal && !stream.closed) onFault(error);
      ending = { 'grpc-status': String(code), 'grpc-message': message };
    }
    if (stream.closed) {
      // With an unread message, it would stay.
      stream.destroy();
    } else if (stream.headersSent) {
      stream.end();
      // A client that does not end its call as well loses it.
      stream.resume();
      stream.setTimeout(READ_MS);
    } else {
      stream.respond({ ':status': 200, 'content-type': CONTENT_TYPE, ...ending }, { endStream: true });
      stream.close(constants.NGHTTP2_NO_ERROR);
    }
    // Sends GOAWAY, and lets the calls in flight finish.
    if (isLeaving()) stream.session?.close();
  }

  const connections = new Set<Socket>();
  server.on('connection', (connection: Socket) => {
    connections.add(connection);
    connection.once('close', () => connections.delete(connection));
  });
  const closeAllConnections = (): void => {
    for (const session of sessions.keys()) session.destroy();
    for (const connection of connections) connection.destroy();
  };
  Object.assign(server, { closeAllConnections });
  const app: FastifyInstance = fastify({
    logger: false,
    schemaController: NO_SCHEMAS,
    forceCloseConnections: true,
    // Fastify opens and closes it, and gets no requests.
    serverFactory: () => server as unknown as HttpServer,
  });
  app.addHook('preClose', async () => {
    // The methods end their calls. An aborted call would abort the request that the data plane has sent meanwhile.
    for (const stream of waiting) stream.push(null);
    const closing = [...sessions.keys()].map((session) => new Promise<void>((resolve) => session.close(resolve)));
    await Promise.race([Promise.all(closing), delay(CLOSE_MS, undefined, { ref: false })]);
  });
  // Fastify closes no server that it did not open itself, such as one on a Unix socket.
  app.addHook('onClose', (_app, done) => {
    closeAllConnections();
    server.close(() => done());
  });
  /** A connection without a session has sent nothing, or has not finished its handshake. */
  const isIdle = (connection: Socket): boolean => (calls.get(innermost(connection)) ?? 0) === 0;
  return { app, isIdle };
}

/** A client that is silent before the end of a message loses its call. */
async function* readMessages(stream: ServerHttp2Stream, maxBytes: number): AsyncGenerator<Buffer, void> {
  let chunks: Buffer[] = [];
  let size = 0;
  /** So many bytes are worth a look. */
  let wanted = PREFIX_LENGTH;
  let count = 0;
  stream.once('timeout', () => stream.close(constants.NGHTTP2_CANCEL));
  stream.setTimeout(READ_MS);
  for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    while (size >= wanted) {
      const bytes = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
      chunks = [bytes];
      const length = bytes.readUInt32BE(1);
      if (length > maxBytes) throw new GrpcError(GRPC.resourceExhausted, 'the message is too large');
      if (bytes[0] !== 0) throw new GrpcError(GRPC.unimplemented, 'compressed messages are not supported');
      wanted = PREFIX_LENGTH + length;
      if (size < wanted) break;
      chunks = [bytes.subarray(wanted)];
      size -= wanted;
      count += 1;
      yield bytes.subarray(PREFIX_LENGTH, wanted);
      wanted = PREFIX_LENGTH;
    }
    if (size > 0) stream.setTimeout(READ_MS);
  }
  if (size > 0 || count === 0) throw new GrpcError(GRPC.invalidArgument, 'the call ends within a message');
}

async function onlyOf(messages: AsyncIterable<Buffer>): Promise<Buffer> {
  let only: Buffer | undefined;
  for await (const message of messages) {
    if (only !== undefined) throw new GrpcError(GRPC.invalidArgument, 'the call has more than one message');
    only = message;
  }
  return only as Buffer;
}

function asGrpcError(error: unknown): GrpcError {
  if (error instanceof GrpcError) return error;
  // Of `readFields`.
  if (error instanceof RangeError) return new GrpcError(GRPC.invalidArgument, 'malformed message');
  return new GrpcError(GRPC.internal, 'internal error');
}

function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_LENGTH);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}
