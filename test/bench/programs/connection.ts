import { connect, type Socket } from 'node:net';
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls';
import { createMessageReader } from './message-reader.ts';
import type { Connection, Target } from './protocol.ts';
import { requestsTo } from './requests.ts';

/** The TLS context of each target. Parsing its certificate for each connection would cost the load process more than a handshake costs a proxy. */
const contexts = new Map<string, SecureContext>();

function contextFor({ ca, cert, key }: NonNullable<Target['tls']>): SecureContext {
  const name = `${ca}${cert}`;
  const context = contexts.get(name) ?? createSecureContext({ ca, ...(cert && { cert }), ...(key && { key }) });
  contexts.set(name, context);
  return context;
}

type To = Pick<Target, 'port' | 'tls'>;

/** Resolves with an open connection. */
export function openConnection({ port, tls }: To): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const to = { port, host: '127.0.0.1', noDelay: true };
    const socket: Socket =
      tls === undefined ? connect(to) : connectTls({ ...to, secureContext: contextFor(tls), servername: tls.host });
    let finished: ((status: number) => void) | undefined;
    let started: (() => void) | undefined;
    const end = (status: number): void => {
      const notify = finished;
      finished = undefined;
      notify?.(status);
    };
    const read = createMessageReader(
      () => started?.(),
      (headers) => end(Number(headers.slice(9, 12))),
    );
    socket.on('data', read);
    socket.once('error', reject);
    socket.on('close', () => end(0));
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
      resolve({
        send(request, onEnd, onHeaders) {
          finished = onEnd;
          started = onHeaders;
          socket.write(request);
        },
        close() {
          finished = undefined;
          socket.destroy();
        },
      });
    });
  });
}

export function openConnections(target: To, count: number): Promise<Connection[]> {
  return Promise.all(Array.from({ length: count }, () => openConnection(target)));
}

/** The number of concurrent connection attempts. It must not exceed the listener's backlog. */
const BATCH = 100;

/** Streams that stay open. */
export function createOpenStreams(): { open(target: Target, count: number): Promise<void>; release(): void } {
  const held: Connection[] = [];
  return {
    async open(target, count) {
      const requests = requestsTo(target);
      while (count > held.length) {
        const connections = await openConnections(target, Math.min(BATCH, count - held.length));
        held.push(...connections);
        await Promise.all(connections.map((connection) => waitForHeaders(connection, requests.next())));
      }
    },
    release() {
      for (const connection of held.splice(0)) connection.close();
    },
  };
}

function waitForHeaders(connection: Connection, request: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    connection.send(request, (status) => reject(new Error(`a stream closed with status ${status}`)), resolve);
  });
}
