import type { Socket } from 'node:net';
import { errors } from 'undici';
import type { Connect } from '../connector.ts';
import { type Connection, createConnection } from './connection.ts';
import { readFrom, type Sockets } from './sockets.ts';

/** Called once. */
export type Opened = (...result: [Error, null] | [null, Connection]) => void;

interface ConnectionsOptions {
  readonly sockets: Sockets;
  /** The connection can carry another request as soon as everything received so far was read. @param idleMs how long it may stay idle */
  readonly onIdle: (connection: Connection, idleMs: number) => void;
  /** The count has gone down. */
  readonly onRemoved: () => void;
}

export function createConnections(origin: URL, options: ConnectionsOptions) {
  const { sockets, onIdle, onRemoved } = options;
  const connections = new Set<Connection>();
  let connecting = 0;

  function open(connect: Connect, create: (socket: Socket) => Connection, opened: Opened): void {
    connecting += 1;
    connect(origin, (error, socket) => {
      connecting -= 1;
      if (error === null) {
        opened(null, create(socket));
      } else {
        opened(error, null);
        onRemoved();
      }
    });
  }

  /** A function of its own: a closure inside `open` would keep the first request in memory as long as the connection lives. */
  function createReusable(socket: Socket): Connection {
    const connection = add(socket, (idleMs) => onIdle(connection, idleMs));
    readFrom(socket, connection.read);
    return connection;
  }

  function createExclusive(socket: Socket): Connection {
    // It never becomes idle, because its request is the last.
    return add(socket, () => {});
  }

  function add(socket: Socket, onceIdle: (idleMs: number) => void): Connection {
    const connection = createConnection(socket, origin.host, {
      onIdle: onceIdle,
      onClose() {
        connections.delete(connection);
        onRemoved();
      },
    });
    connections.add(connection);
    return connection;
  }

  return {
    /** Opens a connection that carries one request after another. */
    open: (opened: Opened): void => open(sockets.connect, createReusable, opened),
    /** Opens a connection for one request, by which it may switch to another protocol. */
    openExclusive: (opened: Opened): void => open(sockets.connectStream, createExclusive, opened),
    count: (): number => connections.size + connecting,
    /** Closes the open connections. Those that are still connecting are closed by the owner of the sockets. */
    destroy(reason: Error): void {
      for (const connection of connections) connection.destroy(reason);
    },
  };
}

/** Interval for closing expired connections. */
const SWEEP_MS = 1_000;

interface Idle {
  readonly connection: Connection;
  readonly untilMs: number;
}

export function createIdleConnections() {
  let idle: Idle[] = [];
  let sweeper: NodeJS.Timeout | undefined;

  function isUsable({ connection, untilMs }: Idle, nowMs: number): boolean {
    if (connection.isOpen() && untilMs > nowMs) return true;
    connection.destroy(new errors.InformationalError('the idle connection has expired'));
    return false;
  }

  function sweep(): void {
    const nowMs = performance.now();
    idle = idle.filter((each) => isUsable(each, nowMs));
    if (idle.length > 0) return;
    clearInterval(sweeper);
    sweeper = undefined;
  }

  return {
    /** @param untilMs as `performance.now()` */
    add(connection: Connection, untilMs: number): void {
      idle.push({ connection, untilMs });
      sweeper ??= setInterval(sweep, SWEEP_MS).unref();
    },
    /** Takes the most recently used connection, so that surplus ones expire. */
    take(nowMs: number): Connection | undefined {
      for (let last = idle.pop(); last !== undefined; last = idle.pop()) {
        if (isUsable(last, nowMs)) return last.connection;
      }
      return undefined;
    },
    closeAll(): void {
      for (const { connection } of idle) connection.destroy(new errors.ClientClosedError());
      sweep();
    },
  };
}
