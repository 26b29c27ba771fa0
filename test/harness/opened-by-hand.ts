import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type Dispatcher, errors } from 'undici';
import { createHttp1Pool, type Http1Pool } from '../../src/transport/http1/pool.ts';
import type { Sockets } from '../../src/transport/http1/sockets.ts';
import type { Open } from '../../src/transport/opener.ts';

/** A connection whose server is the test. */
export interface FarEnd {
  readonly socket: Duplex;
  /** Targets of the received requests. */
  readonly targets: string[];
  /** Responds to the latest request with its target as the body. */
  answer(): void;
}

/** A connection that is being established. */
export interface Opening {
  readonly isStream: boolean;
  succeed(): FarEnd;
  fail(error?: Error): void;
}

/** A pool whose connections the test establishes. */
export interface PoolByHand {
  readonly pool: Http1Pool;
  /** The pool as a dispatcher. */
  readonly dispatcher: Dispatcher;
  /** Pending connections. */
  readonly openings: Opening[];
  readonly connections: FarEnd[];
  readonly connectionErrors: Error[];
  /** The number of `onEmpty` calls. */
  emptied: number;
  /** Destroys the pool and its pending connections, as its dispatcher does. */
  destroy(): void;
}

export function poolByHand(): PoolByHand {
  const open =
    (isStream: boolean): Open =>
    (_, opened) => {
      const opening: Opening = {
        isStream,
        succeed() {
          byHand.openings.splice(byHand.openings.indexOf(opening), 1);
          const connection = farEnd();
          byHand.connections.push(connection);
          opened(null, connection.socket as Socket);
          return connection;
        },
        fail(error = new Error('refused')) {
          byHand.openings.splice(byHand.openings.indexOf(opening), 1);
          opened(error, null);
        },
      };
      byHand.openings.push(opening);
    };
  const sockets: Sockets = {
    open: open(false),
    openStream: open(true),
    destroy(error) {
      for (const opening of [...byHand.openings]) opening.fail(error);
    },
  };
  const pool = createHttp1Pool(new URL('http://a.example'), {
    sockets,
    onConnectionError: (error) => byHand.connectionErrors.push(error),
    onEmpty() {
      byHand.emptied += 1;
    },
  });
  const dispatch: Dispatcher['dispatch'] = (options, handler) => {
    pool.dispatch(options, handler);
    return true;
  };
  const byHand: PoolByHand = {
    pool,
    dispatcher: { dispatch } as Dispatcher,
    openings: [],
    connections: [],
    connectionErrors: [],
    emptied: 0,
    destroy() {
      const reason = new errors.ClientDestroyedError();
      pool.destroy(reason);
      sockets.destroy(reason);
    },
  };
  return byHand;
}

function farEnd(): FarEnd {
  const targets: string[] = [];
  const socket = new Duplex({
    read() {},
    write(chunk: Buffer, _, written) {
      for (const [, target] of chunk.toString('latin1').matchAll(/^[A-Z]+ (\S+) HTTP/gm))
        targets.push(target as string);
      written();
    },
  });
  return {
    socket,
    targets,
    answer() {
      const body = targets.at(-1) as string;
      socket.push(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    },
  };
}

/** Waits some turns of the event loop, until all consequences of earlier calls have happened. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 4; i += 1) await new Promise((resolve) => setImmediate(resolve));
}
