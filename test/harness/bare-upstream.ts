import { createServer, type Server, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { Http1Dispatcher } from '../../src/transport/http1/dispatcher.ts';
import { type CertificateAuthority, createCertificateAuthority } from './certificates.ts';
import { eventually } from './eventually.ts';
import { follow, type Reactions, type RequestOptions } from './followed.ts';
import { serve } from './http-server.ts';

/** Long enough for bytes to arrive over loopback. */
export const ARRIVED_MS = 30;

/** One connection to a server that need not speak HTTP. */
export interface BareConnection {
  readonly socket: Socket;
  /** Everything received, with a character for each byte. */
  received: string;
  hasEnded: boolean;
  isClosed: boolean;
  send(text: string): void;
}

/** Called for each request, with its request line and headers. A text is sent as the response. */
export type OnRequest = string | ((connection: BareConnection, headers: string) => void);

export interface BareOptions {
  readonly host?: string;
  /** Uses TLS with a certificate of this CA. */
  readonly authority?: CertificateAuthority | undefined;
  /** Accepts connections, and reads nothing by itself. */
  readonly readsNothing?: boolean;
}

/** Created once, because keys take time. */
let authority: CertificateAuthority | undefined;

/** Both transports, for tests that run over each. */
export const WAYS = [
  ['TCP', undefined],
  ['TLS', () => (authority ??= createCertificateAuthority())],
] as const;

export const OK = 'HTTP/1.1 200 OK\r\n';

/** A response with this body, on a connection that stays open. */
export function responseOf(body: string, headers = OK): string {
  return `${headers}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** Content in these parts. */
export async function* streamed(...parts: readonly string[]): AsyncGenerator<Buffer> {
  for (const part of parts) yield Buffer.from(part);
}

/** A server on loopback whose connections the test controls. Closed after the test. */
export async function startBareUpstream(
  t: TestContext,
  onRequest: OnRequest = () => {},
  { host = '127.0.0.1', authority, readsNothing = false }: BareOptions = {},
) {
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
    // Packets are sent at once.
    socket.setNoDelay(true);
    socket.on('end', () => {
      connection.hasEnded = true;
    });
    socket.on('close', () => {
      connection.isClosed = true;
    });
    if (!readsNothing) readRequests(connection, onRequest);
  };
  const server: Server =
    authority === undefined
      ? createServer(take)
      : createTlsServer(authority.issueServer({ hosts: ['localhost', host] }), take);
  const { port, family } = await serve(t, server, host);
  const name = family === 'IPv6' ? `[${host}]` : host;
  return { origin: `${authority === undefined ? 'http' : 'https'}://${name}:${port}`, connections };
}

function readRequests(connection: BareConnection, onRequest: OnRequest): void {
  let rest = '';
  connection.socket.on('data', (chunk) => {
    const text = chunk.toString('latin1');
    connection.received += text;
    const pieces = (rest + text).split('\r\n\r\n');
    rest = pieces.pop() as string;
    for (const piece of pieces) {
      // The content of the previous request may precede it, with an empty line in it.
      const headers = /[A-Z]+ \S+ HTTP\/1\.1\r\n.*$/s.exec(piece)?.[0];
      if (headers === undefined) continue;
      if (typeof onRequest === 'string') connection.send(onRequest);
      else onRequest(connection, headers);
    }
  });
}

/** A dispatcher that is destroyed after the test. */
export function http1Dispatcher(
  t: TestContext,
  authority?: CertificateAuthority,
  options: ConstructorParameters<typeof Http1Dispatcher>[0] = {},
): Http1Dispatcher {
  const dispatcher = new Http1Dispatcher({ ...options, ...(authority !== undefined && { ca: authority.cert }) });
  t.after(() => dispatcher.destroy());
  return dispatcher;
}

export async function link(t: TestContext, onRequest?: OnRequest, options: BareOptions = {}) {
  const upstream = await startBareUpstream(t, onRequest, options);
  const dispatcher = http1Dispatcher(t, options.authority);
  const send = (request?: RequestOptions, reactions?: Reactions) =>
    follow(dispatcher, { origin: upstream.origin, ...request }, reactions);
  return {
    ...upstream,
    dispatcher,
    send,
    /** Sends a request, and waits until it is complete or failed. */
    ask: (...request: Parameters<typeof send>) => send(...request).ended(),
    /** Everything that the upstream received on its connection with this number. */
    received: (nth = 0) => upstream.connections[nth]?.received ?? '',
    closed: (nth = 0) => eventually('the connection is closed', () => upstream.connections[nth]?.isClosed === true),
  };
}

type Start = (onRequest?: OnRequest, options?: BareOptions) => ReturnType<typeof link>;

/** Defines a test that runs over each transport, with a link over it. */
export function testWays(
  name: string,
  run: (start: Start, t: TestContext) => Promise<void>,
  ways: readonly (typeof WAYS)[number][] = WAYS,
): void {
  for (const [way, tls] of ways) {
    test(`${name}, over ${way}`, (t) => {
      const authority = tls?.();
      return run((onRequest, options) => link(t, onRequest, { ...options, authority }), t);
    });
  }
}
