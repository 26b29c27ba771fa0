import type { Server } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { Socket } from 'node:net';

export function isSecure(server: object): server is HttpsServer {
  return 'setSecureContext' in server;
}

/** The event with which a server gets a connection to speak HTTP on. Emitting it hands over a connection of another listener. */
export function connectionEvent(server: Server): 'connection' | 'secureConnection' {
  return isSecure(server) ? 'secureConnection' : 'connection';
}

/** The sockets inside the TLS of connections. */
export const secured = new WeakMap<Socket, Socket>();

/** The socket with which HTTP is spoken. TLS may be within TLS, as for an agent that sends CONNECT by TLS. */
export function innermost(connection: Socket): Socket {
  const inside = secured.get(connection);
  return inside === undefined ? connection : innermost(inside);
}

/** Connections to a listener with TLS whose handshake is not complete. */
export const handshaking = new WeakSet<Socket>();

/**
 * Tells which connections can be closed without loss. They have sent nothing at all, or wait for the next request: none is in
 * flight or partly received, and every response was sent. Upgraded connections and tunnels are never idle.
 */
export function idleConnections(server: Server): (connection: Socket) => boolean {
  const waiting = new Set(socketsOf(server, 'idle'));
  return (connection) => {
    const socket: Socket & { _httpMessage?: object | null } = innermost(connection);
    if (socket.bytesRead === 0) return true;
    // Node's list also has the connections whose request was received, and whose response is yet to be sent. Node sets this to null
    // after each response. Undefined is not idle, so that a version of Node that keeps responses elsewhere loses no request.
    return waiting.has(socket) && socket._httpMessage === null && socket.writableLength === 0;
  };
}

/** Connections whose request waits for its body before it is forwarded. */
export const awaitingBody = new WeakSet<Socket>();

/** Tells which connections can be closed, because the handshake, the headers or the awaited body of their only request are incomplete. */
export function incompleteConnections(server: Server): (connection: Socket) => boolean {
  const receiving = new Set(socketsOf(server, 'active'));
  return (connection) => {
    const socket: Socket & { _httpMessage?: object | null } = innermost(connection);
    if (handshaking.has(connection)) return true;
    return receiving.has(socket) && (awaitingBody.has(socket) || (socket._httpMessage ?? null) === null);
  };
}

interface NodeConnections {
  idle?(): readonly { readonly socket: Socket }[];
  active?(): readonly { readonly socket: Socket }[];
}

/**
 * Node has no public way to ask. Its own `closeIdleConnections` reads this list, and closes them all. In a version without the list,
 * only silent connections are idle.
 */
function socketsOf(server: Server, state: 'idle' | 'active'): Socket[] {
  const name = Object.getOwnPropertySymbols(server).find(
    ({ description }) => description === 'http.server.connections',
  );
  if (name === undefined) return [];
  const connections = (server as Server & { readonly [key: symbol]: NodeConnections | undefined })[name];
  return connections?.[state]?.().map(({ socket }) => socket) ?? [];
}

const JOIN_MS = 20;

/**
 * Closes the idle connections of a server. Node's own function would cut off a response that is written but not sent yet, so it
 * waits until every connection has sent what was written to it.
 * @returns a function to call at the start of a shutdown, and whenever a request is finished after that
 */
export function createIdleCloser(server: Server): () => void {
  const sockets = new Set<Socket>();
  let timer: NodeJS.Timeout | undefined;
  server.on(connectionEvent(server), (socket: Socket) => {
    // The server gets a connection again after a request that offered another protocol.
    if (sockets.has(socket)) return;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });

  function close(): void {
    timer = undefined;
    if ([...sockets].some(({ writableLength }) => writableLength > 0)) schedule();
    else server.closeIdleConnections();
  }

  function schedule(): void {
    if (timer === undefined) timer = setTimeout(close, JOIN_MS).unref();
  }

  return schedule;
}
