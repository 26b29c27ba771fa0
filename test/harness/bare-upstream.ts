import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { Http1Dispatcher } from '../../src/transport/http1/dispatcher.ts';
import { type CertificateAuthority, createCertificateAuthority } from './certificates.ts';

/** One connection to a server that may send anything, not only valid HTTP. */
export interface BareConnection {
  readonly socket: Socket;
  /** All received bytes, as latin1. */
  received: string;
  hasEnded: boolean;
  isClosed: boolean;
  send(text: string): void;
}

export interface BareUpstream {
  readonly origin: string;
  readonly connections: BareConnection[];
}

/** Called with the request line and headers of each request, as text without the final empty line. */
export type OnHead = (connection: BareConnection, head: string) => void;

export interface BareOptions {
  readonly host?: string;
  /** Serves TLS with a certificate of this CA. */
  readonly authority?: CertificateAuthority | undefined;
  /** Accepts connections and reads nothing from them. */
  readonly isDeaf?: boolean;
}

/** Created once, because generating keys is slow. */
let authority: CertificateAuthority | undefined;

/** Plain TCP and TLS, for tests that run with both. */
export const WAYS = [
  ['plain', undefined],
  ['TLS', () => (authority ??= createCertificateAuthority())],
] as const;

/** A response with a Content-Length, after which the connection stays open. */
export function answerOf(body: string, head = 'HTTP/1.1 200 OK\r\n'): string {
  return `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** A server on loopback whose connections the test controls. It closes with them after the test. */
export async function startBareUpstream(
  t: TestContext,
  onHead: OnHead = () => {},
  { host = '127.0.0.1', authority, isDeaf = false }: BareOptions = {},
): Promise<BareUpstream> {
  const connections: BareConnection[] = [];
  const take = (socket: Socket): void => {
    const connection: BareConnection = {
      socket,
      received: '',
      hasEnded: false,
      isClosed: false,
      send: (text) => void socket.write(text, 'latin1'),
    };
    connections.push(connection);
    // Small writes arrive without delay.
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('end', () => {
      connection.hasEnded = true;
    });
    socket.on('close', () => {
      connection.isClosed = true;
    });
    if (!isDeaf) readHeads(connection, onHead);
  };
  const server: Server =
    authority === undefined
      ? createServer(take)
      : createTlsServer(authority.issueServer({ hosts: ['localhost', host] }), take);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, host, resolve);
  });
  t.after(() => {
    for (const { socket } of connections) socket.destroy();
    server.close();
  });
  const { port, family } = server.address() as AddressInfo;
  const name = family === 'IPv6' ? `[${host}]` : host;
  return { origin: `${authority === undefined ? 'http' : 'https'}://${name}:${port}`, connections };
}

function readHeads(connection: BareConnection, onHead: OnHead): void {
  let rest = '';
  connection.socket.on('data', (chunk) => {
    const text = chunk.toString('latin1');
    connection.received += text;
    const pieces = (rest + text).split('\r\n\r\n');
    rest = pieces.pop() as string;
    for (const piece of pieces) {
      // The content of the previous request can precede the headers, and can contain empty lines.
      const head = /[A-Z]+ \S+ HTTP\/1\.1\r\n.*$/s.exec(piece)?.[0];
      if (head !== undefined) onHead(connection, head);
    }
  });
}

/** Creates a dispatcher, and destroys it after the test. */
export function http1Dispatcher(
  t: TestContext,
  authority?: CertificateAuthority,
  options: ConstructorParameters<typeof Http1Dispatcher>[0] = {},
): Http1Dispatcher {
  const dispatcher = new Http1Dispatcher({ ...options, ...(authority !== undefined && { ca: authority.cert }) });
  t.after(() => dispatcher.destroy());
  return dispatcher;
}
