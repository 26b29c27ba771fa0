import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { connectionEvent } from '../listeners/idle-connection.ts';
import { type DetachedSockets, isResponding, responseOn } from './detached.ts';
import { headerValues } from './headers.ts';
import type { Pipeline } from './pipeline.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { RequestTracker } from './request-tracker.ts';
import type { Switched } from './steps.ts';
import { join, readEarlyBytes } from './tunnel.ts';

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
  server.on('upgrade', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    if (isResponding(socket)) {
      socket.destroy();
      return;
    }
    if (!isWebSocket(request)) {
      socket.unshift(Buffer.concat([withoutUpgrade(request), head]));
      server.emit(connectionEvent(server), socket);
      return;
    }
    sockets.add(socket);
    const putBack = readEarlyBytes(socket, head);
    const handshake = tracker.begin(request, responseOn(request, socket), request.url ?? '');
    void pipeline(handshake, switchedTo(handshake, socket, putBack));
  });

  function switchedTo(request: ProxyRequest, socket: Socket, putBack: () => void): Switched {
    return (protocol, headers, upstream) => {
      sockets.add(upstream);
      if (request.isClosed || protocol === undefined || !namesWebSocket(protocol)) {
        upstream.destroy();
        return false;
      }
      putBack();
      request.switched(headers);
      join(socket, upstream as Socket, tracker.options.watch, request.stallMs());
      return true;
    };
  }
}

function namesWebSocket(value: string): boolean {
  return value.trim().toLowerCase() === 'websocket';
}

/** HTTP/1.0 has no upgrades (RFC 9110 section 7.8). */
function isWebSocket({ method, headers, rawHeaders, httpVersion }: IncomingMessage): boolean {
  const offered = headerValues(rawHeaders, 'upgrade');
  const hasBody = headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
  return httpVersion === '1.1' && method === 'GET' && !hasBody && offered.length === 1 && offered.every(namesWebSocket);
}

/** Serializes the request line and headers as received, without the header that would make the request an upgrade again. */
function withoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.toLowerCase() !== 'upgrade') lines.push(`${name}: ${rawHeaders[i + 1]}`);
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}
