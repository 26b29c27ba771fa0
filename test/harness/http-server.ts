import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server as NetServer } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Lifetime } from './lifetime.ts';

/** The certificate of a TLS server, in PEM format. */
export interface ServerTls {
  key: string;
  cert: string;
  /** If set, clients must have a certificate of this CA. */
  clientCa?: string;
}

export interface HttpServerOptions {
  tls?: ServerTls | undefined;
  /** The default, 0, is any available port. */
  port?: number;
  /** Listens on this address, and has this origin as URL. By default, listens on loopback. */
  at?: { address: string; origin: string };
  upgrade?: (request: IncomingMessage, socket: Duplex) => void;
}

/**
 * Starts a server on loopback, at `http://127.0.0.1:…`, or `https://localhost:…` with TLS. Its connections may break at any time, and
 * `close` closes them.
 */
export async function startHttpServer(listener: RequestListener, options: HttpServerOptions = {}) {
  const { tls, port = 0, at, upgrade } = options;
  const server = tls === undefined ? createServer(listener) : createTlsServer(tlsOptions(tls), listener);
  if (upgrade !== undefined) server.on('upgrade', upgrade);
  server.on('request', (_request, response) => response.on('error', () => {}));
  const close = keepConnections(server);
  const address = await listen(server, port, at?.address);
  const local = tls === undefined ? `http://127.0.0.1:${address.port}` : `https://localhost:${address.port}`;
  return {
    url: at?.origin ?? local,
    port: address.port,
    close,
  };
}

function tlsOptions(tls: ServerTls): { key: string; cert: string; ca?: string; requestCert?: boolean } {
  const { key, cert, clientCa } = tls;
  return clientCa === undefined ? { key, cert } : { key, cert, ca: clientCa, requestCert: true };
}

export async function listen(server: NetServer, port = 0, host = '127.0.0.1'): Promise<AddressInfo> {
  await once(server.listen(port, host), 'listening');
  return server.address() as AddressInfo;
}

export function closeServer(server: NetServer): Promise<void> {
  return new Promise((resolve, reject) => {
    if (!server.listening) resolve();
    else server.close((error) => (error === undefined ? resolve() : reject(error)));
  });
}

/** A connection that breaks is closed. @returns closes the server and its connections */
function keepConnections(server: NetServer): () => Promise<void> {
  const sockets = new Set<Duplex>();
  for (const event of ['connection', 'secureConnection']) {
    server.on(event, (socket: Duplex) => {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.once('close', () => sockets.delete(socket));
    });
  }
  return () => {
    const closed = closeServer(server);
    for (const socket of sockets) socket.destroy();
    return closed;
  };
}

/** Listens until `t` ends, or until `close`. Connections may break at any time. */
export async function serve(t: Lifetime, server: NetServer, host?: string) {
  const close = keepConnections(server);
  t.after(close);
  return { ...(await listen(server, 0, host)), close };
}

/** Systems choose ports for port 0 and for connections above this range, so no other program is given one of these by chance. */
const FREE_PORTS = { first: 12_000, last: 29_999 };

/**
 * Returns an available port, for programs that cannot listen on port 0. Until this process ends, no other test is given it: a UDP
 * socket on the same number is the claim.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FREE_PORTS.first, FREE_PORTS.last + 1);
    if (!(await claimed(port))) continue;
    const server = createServer();
    const isFree = await listen(server, port).then(
      () => true,
      () => false,
    );
    await closeServer(server);
    if (isFree) return port;
  }
}

/** Resolves to false if another process, or this one, has claimed the port. */
function claimed(port: number): Promise<boolean> {
  const claim = createSocket('udp4').unref();
  return new Promise((resolve) => {
    claim.once('error', () => {
      claim.close();
      resolve(false);
    });
    claim.bind({ port, address: '127.0.0.1', exclusive: true }, () => resolve(true));
  });
}
