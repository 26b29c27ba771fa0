import type { Socket } from 'node:net';
import type { Open } from '../opener.ts';
import { type Connection, createConnection } from './connection.ts';
import { readFrom, type Sockets } from './sockets.ts';

/** The connections to one origin, from when they begin to open until they are closed. */
export interface Connections {
  /** One that carries one request after the other. */
  open(opened: Opened): void;
  /** One for a request by which it may become one of another protocol; it carries no other. */
  openAlone(opened: Opened): void;
  /** How many there are, those that still open among them. */
  count(): number;
  /** Breaks off what they carry; those that still open, whoever opens them ends. */
  destroy(reason: Error): void;
}

/** Called once. */
export type Opened = (...result: [Error, null] | [null, Connection]) => void;

export interface ConnectionsOptions {
  readonly sockets: Sockets;
  /** One may carry another request, once all that has come by now was read. @param idleMs how long the upstream waits for it */
  readonly onFree: (connection: Connection, idleMs: number) => void;
  /** One could not be opened. Told before who waits for it is. */
  readonly onError: (error: Error) => void;
  /** There are fewer than there were. */
  readonly onFewer: () => void;
}

export function createConnections(origin: URL, { sockets, onFree, onError, onFewer }: ConnectionsOptions): Connections {
  const there = new Set<Connection>();
  /** Those that still open. */
  let underWay = 0;

  function open(opener: Open, made: (socket: Socket) => Connection, opened: Opened): void {
    underWay += 1;
    opener(origin, (error, socket) => {
      underWay -= 1;
      if (error === null) {
        opened(null, made(socket));
      } else {
        onError(error);
        opened(error, null);
        onFewer();
      }
    });
  }

  /** Made here and not where it is opened, whose first request, and all that this holds, it would else remember as long as it lives. */
  function shared(socket: Socket): Connection {
    const connection = add(socket, (idleMs) => onFree(connection, idleMs));
    readFrom(socket, connection.read);
    return connection;
  }

  function alone(socket: Socket): Connection {
    // It is never free: its request says that it is the last.
    return add(socket, () => {});
  }

  function add(socket: Socket, onceFree: (idleMs: number) => void): Connection {
    const connection = createConnection(socket, origin.host, {
      onFree: onceFree,
      onClose() {
        there.delete(connection);
        onFewer();
      },
    });
    there.add(connection);
    return connection;
  }

  return {
    open: (opened) => open(sockets.open, shared, opened),
    openAlone: (opened) => open(sockets.openStream, alone, opened),
    count: () => there.size + underWay,
    destroy(reason) {
      for (const connection of there) connection.destroy(reason);
    },
  };
}
