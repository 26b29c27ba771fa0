import type { Server as HttpServer } from 'node:http';
import { createSecureServer, createServer, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import fastify, { type FastifyInstance } from 'fastify';
import type { Listen } from '../config/addresses.ts';
import { connectionEvent, innermost } from '../listeners/idle-connection.ts';
import { KEEP_ALIVE_PROBES, NO_SCHEMAS } from '../listeners/listen.ts';
import { serverOptions, tlsOf } from '../listeners/tls.ts';
import { type CallOptions, serveCall } from './grpc-call.ts';

interface GrpcServerOptions extends Omit<CallOptions, 'waiting' | 'count'> {
  readonly maxConcurrent: number;
}

/** Time for the last responses at shutdown. */
const CLOSE_MS = 500;
/** Envoy resets each call of ext_proc, and by default Node closes a connection with more than 1,000 resets, and then 33 a second. */
const MAX_RESETS = 1_000_000;

/**
 * A server for calls of gRPC, on HTTP/2 alone.
 * @returns the server, and which of its connections have no complete call
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
export function createGrpcServer(listen: Listen, { maxConcurrent, ...options }: GrpcServerOptions) {
  const resets = { streamResetBurst: MAX_RESETS, streamResetRate: MAX_RESETS };
  const own = { ...KEEP_ALIVE_PROBES, ...resets, settings: { maxConcurrentStreams: maxConcurrent } };
  const { http, https } = serverOptions(tlsOf(listen), own) as { readonly http?: object; readonly https?: object };
  const server = https === undefined ? createServer(http ?? own) : createSecureServer(https);
  /** The calls in flight of each connection whose message is complete. */
  const calls = new Map<Socket, number>();
  const sessions = new Map<ServerHttp2Session, Socket>();
  const waiting = new Set<ServerHttp2Stream>();
  const shared: CallOptions = { ...options, waiting, count };
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
    void serveCall(stream, headers, connection, shared);
  });

  function count(connection: Socket, change: 1 | -1): void {
    const now = calls.get(connection);
    if (now !== undefined) calls.set(connection, now + change);
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
