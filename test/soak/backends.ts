import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { startToughServer, streamEvents } from '../chaos/base.ts';
import type { CertificateAuthority } from '../harness/certificates.ts';
import type { Lifetime } from '../harness/lifetime.ts';

export type SoakBackends = Awaited<ReturnType<typeof startBackends>>;

/** Interval of the events of a stream, which lasts for ten of them. */
const EVENT_MS = 100;
const UNREAD_MS = 3000;
const RESULT = JSON.stringify({ jsonrpc: '2.0', id: 1, result: { content: 'x'.repeat(300) } });
const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

/** Two backends that respond well. The path says how: `stream` streams events, `hold` never responds, `unread` reads late. */
export async function startBackends(t: Lifetime, authority: CertificateAuthority) {
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const { url = '' } = request;
    // A server of Node keeps the stream of a caller that has left until its data is read.
    if (url.includes('unread')) setTimeout(() => request.resume(), UNREAD_MS);
    else request.resume();
    if (url.includes('stream')) {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      streamEvents(response, EVENT_MS, 10 * EVENT_MS);
    } else if (!url.includes('hold') && !url.includes('unread')) {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': RESULT.length });
      response.end(RESULT);
    }
  };
  const onUpgrade = (_request: IncomingMessage, socket: Duplex): void => {
    socket.write(SWITCHED);
    socket.on('data', (chunk) => socket.write(chunk));
    socket.on('end', () => socket.end());
  };
  const plain = await startToughServer(t, onRequest, onUpgrade);
  const secure = await startToughServer(t, onRequest, onUpgrade, authority);
  return { url: plain.url, secureUrl: secure.url };
}
