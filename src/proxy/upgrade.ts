import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { type DetachedSockets, isAnswering, responseOn } from './detached.ts';
import { headerValues } from './headers.ts';
import { join } from './join.ts';
import type { Pipeline } from './pipeline.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { RequestTracker } from './request-tracker.ts';
import type { Switched } from './steps.ts';

export interface UpgradeOptions {
  readonly tracker: RequestTracker;
  readonly pipeline: Pipeline;
  readonly sockets: DetachedSockets;
}

/**
 * Takes WebSocket handshakes to their route, with the bearer that any request there gets, and then passes bytes. A request
 * that offers another protocol is served as if it had not, which a server may always do.
 * @see RFC 6455 section 4, RFC 9110 section 7.8
 */
export function serveUpgrades(server: Server, { tracker, pipeline, sockets }: UpgradeOptions): void {
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (isAnswering(socket)) {
      socket.destroy();
      return;
    }
    if (!isWebSocket(request)) {
      socket.unshift(Buffer.concat([headWithoutUpgrade(request), head]));
      server.emit('connection', socket);
      return;
    }
    sockets.add(socket);
    const stopWatching = destroyAtEnd(socket);
    const handshake = tracker.begin(request, responseOn(request, socket), request.url ?? '');
    void pipeline(handshake, switchedTo(handshake, socket, head, stopWatching));
  });

  function switchedTo(request: ProxyRequest, socket: Duplex, head: Buffer, stopWatching: () => void): Switched {
    return (protocol, headers, upstream) => {
      sockets.add(upstream);
      if (request.isClosed || protocol === undefined || !namesWebSocket(protocol)) {
        upstream.destroy();
        return false;
      }
      stopWatching();
      request.switched(headers);
      if (head.length > 0) socket.unshift(head);
      join(socket, upstream);
      return true;
    };
  }
}

/** Nobody reads the connection until it has switched, so nobody would see that the client is gone. @returns ends the watch */
function destroyAtEnd(socket: Duplex): () => void {
  const gone = (): void => void socket.destroy();
  const look = (): void => {
    const bytes = socket.read() as Buffer | null;
    if (bytes === null) return;
    // It talks before it was answered, which RFC 6455 does not let it.
    stop();
    socket.unshift(bytes);
  };
  const stop = (): void => {
    socket.off('readable', look);
    socket.off('end', gone);
  };
  socket.on('readable', look);
  socket.once('end', gone);
  return stop;
}

function namesWebSocket(value: string): boolean {
  return value.trim().toLowerCase() === 'websocket';
}

function isWebSocket({ method, headers, rawHeaders }: IncomingMessage): boolean {
  const offered = headerValues(rawHeaders, 'upgrade');
  const hasBody = headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
  return method === 'GET' && !hasBody && offered.length === 1 && offered.every(namesWebSocket);
}

/** A request's head as it came, less the header that would make it an upgrade again. */
function headWithoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.toLowerCase() !== 'upgrade') lines.push(`${name}: ${rawHeaders[i + 1]}`);
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}
