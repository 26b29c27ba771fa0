import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Duplex } from 'node:stream';
import type { CertificateAuthority } from '../harness/certificates.ts';
import { listen } from '../harness/http-server.ts';

export interface SoakBackends {
  readonly url: string;
  /** Speaks TLS. */
  readonly secureUrl: string;
  close(): void;
}

/** Interval of the events of a stream. */
const EVENT_MS = 100;
const UNREAD_MS = 3000;
const RESULT = JSON.stringify({ jsonrpc: '2.0', id: 1, result: { content: 'x'.repeat(300) } });
const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

/** Two backends that respond well. The path says how: `stream` streams events, `hold` never responds, `unread` reads late. */
export async function startBackends(authority: CertificateAuthority): Promise<SoakBackends> {
  const sockets = new Set<Duplex>();
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { url = '' } = request;
    for (const stream of [request, response]) stream.on('error', () => {});
    // A server of Node keeps the stream of a caller that has left until its data is read.
    if (url.includes('unread')) setTimeout(() => request.resume(), UNREAD_MS);
    else request.resume();
    if (url.includes('stream')) stream(response);
    else if (!url.includes('hold') && !url.includes('unread')) {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': RESULT.length });
      response.end(RESULT);
    }
  };
  const onUpgrade = (_request: IncomingMessage, socket: Duplex): void => {
    socket.write(SWITCHED);
    socket.on('data', (chunk) => socket.write(chunk));
    socket.on('end', () => socket.end());
  };
  const plain = createServer(onRequest).on('upgrade', onUpgrade);
  const secure = createSecureServer(authority.issueServer(), onRequest).on('upgrade', onUpgrade);
  for (const server of [plain, secure]) {
    server.on(server === plain ? 'connection' : 'secureConnection', (socket: Duplex) => {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.once('close', () => sockets.delete(socket));
    });
  }
  const [{ port }, { port: securePort }] = await Promise.all([listen(plain), listen(secure)]);
  return {
    url: `http://127.0.0.1:${port}`,
    secureUrl: `https://localhost:${securePort}`,
    close() {
      plain.close();
      secure.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** One second of events. */
function stream(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const timer = setInterval(() => response.write('data: {"progress":1}\n\n'), EVENT_MS);
  const end = setTimeout(() => response.end(), 10 * EVENT_MS);
  response.once('close', () => {
    clearInterval(timer);
    clearTimeout(end);
  });
}
