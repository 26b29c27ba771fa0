import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server as NetServer } from 'node:net';
import type { Duplex } from 'node:stream';

/** The certificate of a TLS server, in PEM format. */
export interface ServerTls {
  key: string;
  cert: string;
  /** If set, clients must have a certificate of this CA. */
  clientCa?: string;
}

export interface HttpServer {
  /** `http://127.0.0.1:…`, or `https://localhost:…` with TLS. */
  url: string;
  port: number;
  close(): Promise<void>;
}

export interface HttpServerOptions {
  tls?: ServerTls;
  /** The default, 0, is any available port. */
  port?: number;
  /** Listens on this address, and has this origin as URL. By default, listens on loopback. */
  at?: { address: string; origin: string };
  upgrade?: (request: IncomingMessage, socket: Duplex) => void;
}

/** Starts a server on loopback. `close` also closes its connections. */
export async function startHttpServer(listener: RequestListener, options: HttpServerOptions = {}): Promise<HttpServer> {
  const { tls, port = 0, at, upgrade } = options;
  const server = tls === undefined ? createServer(listener) : createTlsServer(tlsOptions(tls), listener);
  if (upgrade !== undefined) server.on('upgrade', upgrade);
  const address = await listen(server, port, at?.address);
  const local = tls === undefined ? `http://127.0.0.1:${address.port}` : `https://localhost:${address.port}`;
  return {
    url: at?.origin ?? local,
    port: address.port,
    close: () => {
      const closed = closeServer(server);
      server.closeAllConnections();
      return closed;
    },
  };
}

function tlsOptions(tls: ServerTls): { key: string; cert: string; ca?: string; requestCert?: boolean } {
  const { key, cert, clientCa } = tls;
  return clientCa === undefined ? { key, cert } : { key, cert, ca: clientCa, requestCert: true };
}

export function listen(server: NetServer, port = 0, host = '127.0.0.1'): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve(server.address() as AddressInfo));
  });
}

export function closeServer(server: NetServer): Promise<void> {
  return new Promise((resolve, reject) => {
    if (!server.listening) resolve();
    else server.close((error) => (error === undefined ? resolve() : reject(error)));
  });
}

/** The system may return a port again that nothing listens on yet, and one program needs several. */
const returned = new Set<number>();

/** Returns an available port, for programs that cannot listen on port 0. No port is returned twice. */
export async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer();
    const { port } = await listen(server);
    await closeServer(server);
    if (returned.has(port)) continue;
    returned.add(port);
    return port;
  }
}
