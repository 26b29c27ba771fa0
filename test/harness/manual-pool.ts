import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { type Dispatcher, errors } from 'undici';
import type { Connect } from '../../src/transport/connector.ts';
import { createHttp1Pool } from '../../src/transport/http1/dispatcher.ts';
import type { Sockets } from '../../src/transport/http1/sockets.ts';

/** A connection whose upstream end is played by the test. */
type UpstreamEnd = ReturnType<typeof upstreamEnd>;

export interface PendingConnection {
  succeed(): UpstreamEnd;
  fail(error?: Error): void;
}

/** A pool whose connections open when the test opens them. */
export type ManualPool = ReturnType<typeof manualPool>;

export function manualPool() {
  const connect: Connect = (_, connected) => {
    const pendingConnection: PendingConnection = {
      succeed() {
        manual.pending.splice(manual.pending.indexOf(pendingConnection), 1);
        const connection = upstreamEnd();
        manual.connections.push(connection);
        connected(null, connection.socket as Socket);
        return connection;
      },
      fail(error = new Error('refused')) {
        manual.pending.splice(manual.pending.indexOf(pendingConnection), 1);
        connected(error, null);
      },
    };
    manual.pending.push(pendingConnection);
  };
  const sockets: Sockets = {
    connect,
    connectStream: connect,
    destroy(error) {
      for (const pendingConnection of [...manual.pending]) pendingConnection.fail(error);
    },
  };
  const pool = createHttp1Pool(new URL('http://a.example'), {
    sockets,
    onEmpty() {
      manual.emptied += 1;
    },
  });
  const dispatch: Dispatcher['dispatch'] = (options, handler) => {
    pool.dispatch(options, handler);
    return true;
  };
  const manual = {
    pool,
    dispatcher: { dispatch } as Dispatcher,
    /** Connections that are still connecting. */
    pending: [] as PendingConnection[],
    connections: [] as UpstreamEnd[],
    /** The number of times that the pool was empty. */
    emptied: 0,
    /** Destroys the pool and pending connections, as its dispatcher does. */
    destroy() {
      const reason = new errors.ClientDestroyedError();
      pool.destroy(reason);
      sockets.destroy(reason);
    },
  };
  return manual;
}

function upstreamEnd() {
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
    /** Responds to the last request with its target as body. */
    respond() {
      const body = targets.at(-1) as string;
      socket.push(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    },
  };
}

/** Waits for some turns of the event loop, until all consequences of an action have happened. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 4; i += 1) await new Promise((resolve) => setImmediate(resolve));
}
